#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX ((size_t) 256 * 1024 * 1024)
#define FIRST_SIZE 4096

static SmemPrint *
find_slot(SmemPrint *slots, size_t size, SmemPrint print)
{
	size_t at = print.low & (size - 1);

	while ((slots[at].high != 0 || slots[at].low != 0) &&
		   (slots[at].high != print.high || slots[at].low != print.low))
		at = (at + 1) & (size - 1);
	return &slots[at];
}

static void
enlarge(SmemPrintSet *set)
{
	size_t	   size = set->size ? set->size * 2 : FIRST_SIZE;
	SmemPrint *slots = calloc(size, sizeof(SmemPrint));
	size_t	   i;

	if (slots == NULL)
	{
		fputs("somabrain: out of memory\n", stderr);
		exit(1);
	}
	for (i = 0; i < set->size; i++)
		if (set->slots[i].high != 0 || set->slots[i].low != 0)
			*find_slot(slots, size, set->slots[i]) = set->slots[i];
	free(set->slots);
	set->slots = slots;
	set->size = size;
}

bool
smem_prints_add(SmemPrintSet *set, SmemPrint print)
{
	SmemPrint *slot;

	if ((set->used + 1) * 2 > set->size)
		enlarge(set);
	slot = find_slot(set->slots, set->size, print);
	if (slot->high == print.high && slot->low == print.low)
		return false;
	*slot = print;
	set->used++;
	return true;
}

/* The legacy form's only identity is its Idempotency-Key header. */
static SmemPrint
identity(SmemSlice tenant, SmemSlice key, SmemSlice key_sha256)
{
	return smem_text_print(tenant, key.data ? key : key_sha256);
}

static bool
count(SmemLedger *ledger, SmemPrint print)
{
	bool repeat = !smem_prints_add(&ledger->keys, print);

	ledger->items++;
	if (repeat)
		ledger->repeats++;
	return repeat;
}

static SmemSlice
field(struct json_object *line, const char *name)
{
	struct json_object *member = NULL;

	json_object_object_get_ex(line, name, &member);
	return smem_slice(member ? json_object_get_string(member) : NULL);
}

static void
remember_line(SmemLedger *ledger, const char *text)
{
	struct json_object *line = json_tokener_parse(text);

	/* The last line is torn when the stand-in was killed while it wrote. */
	if (line == NULL)
		return;
	count(ledger, identity(field(line, "tenant"), field(line, "key"), field(line, "key_sha256")));
	json_object_put(line);
}

static void
remember(SmemLedger *ledger, const char *path)
{
	FILE  *file = fopen(path, "r");
	char  *text = NULL;
	size_t size = 0;

	if (file == NULL)
		return;
	while (getline(&text, &size, file) > 0)
		remember_line(ledger, text);
	free(text);
	fclose(file);
}

/* What is appended must not join a line that a killed stand-in left unfinished. */
static bool
end_torn_line(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	char  last = '\n';

	if (end > 0 && pread(fd, &last, 1, end - 1) != 1)
		return false;
	return last == '\n' || write(fd, "\n", 1) == 1;
}

bool
smem_ledger_open(SmemLedger *ledger, const char *path)
{
	smem_buf_init(&ledger->lines, LINES_MAX);
	ledger->fd = -1;
	if (path == NULL)
		return true;
	remember(ledger, path);
	ledger->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	return ledger->fd >= 0 && end_torn_line(ledger->fd);
}

static int64_t
wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* JSON may be spread over lines; a record is one line. */
static void
put_raw(SmemBuf *buf, SmemSlice raw)
{
	size_t from = smem_buf_len(buf);
	char  *at;
	size_t i;

	if (raw.data == NULL)
	{
		smem_buf_puts(buf, "null");
		return;
	}
	smem_buf_append(buf, raw.data, raw.len);
	if (memchr(raw.data, '\n', raw.len) == NULL && memchr(raw.data, '\r', raw.len) == NULL)
		return;
	at = smem_buf_head(buf) + from;
	for (i = 0; i < raw.len; i++)
		if (at[i] == '\n' || at[i] == '\r')
			at[i] = ' ';
}

static void
put_member(SmemBuf *buf, const char *name, SmemSlice text)
{
	smem_buf_puts(buf, name);
	smem_text_json(buf, text);
}

static void
put_line(SmemLedger *ledger, const SmemRequest *req, const SmemHead *head, const SmemItem *item,
		 bool repeat, int64_t now)
{
	SmemBuf *buf = &ledger->lines;

	smem_buf_printf(buf, "{\"seq\":%llu,\"at\":%lld,\"form\":\"%s\"",
					(unsigned long long) ledger->items, (long long) now, smem_form_name(req->form));
	put_member(buf, ",\"tenant\":", req->tenant);
	put_member(buf, ",\"namespace\":", req->namespace);
	put_member(buf, ",\"session\":", item->session);
	put_member(buf, ",\"key\":", item->key);
	if (req->form == SMEM_FORM_LEGACY)
		put_member(buf, ",\"key_sha256\":", head->idempotency_key);
	smem_buf_puts(buf, repeat ? ",\"repeat\":true" : ",\"repeat\":false");
	if (ledger->with_items)
	{
		put_member(buf, ",\"request_id\":", head->request_id);
		put_member(buf, ",\"traceparent\":", head->traceparent);
		smem_buf_puts(buf, ",\"item\":");
		put_raw(buf, item->raw_item);
	}
	if (ledger->with_values)
	{
		smem_buf_puts(buf, ",\"value\":");
		put_raw(buf, item->raw_value);
	}
	smem_buf_puts(buf, "}\n");
}

static bool
flush_lines(SmemLedger *ledger)
{
	SmemBuf *buf = &ledger->lines;

	while (smem_buf_len(buf) > 0)
	{
		ssize_t n = write(ledger->fd, smem_buf_head(buf), smem_buf_len(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		smem_buf_consume(buf, (size_t) n);
	}
	return !buf->failed;
}

bool
smem_ledger_accept(SmemLedger *ledger, const SmemRequest *req, const SmemHead *head, size_t n,
				   bool *repeats, SmemPrint *prints)
{
	int64_t now = wall_us();
	size_t	i;

	smem_buf_reset(&ledger->lines);
	for (i = 0; i < n; i++)
	{
		prints[i] = identity(req->tenant, req->items[i].key, head->idempotency_key);
		repeats[i] = count(ledger, prints[i]);
		if (ledger->fd >= 0)
			put_line(ledger, req, head, &req->items[i], repeats[i], now);
	}
	return ledger->fd < 0 || flush_lines(ledger);
}
