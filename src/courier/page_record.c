#include "courier/page_record.h"

#include <string.h>

/* A reader of the text, which never goes past its end. */
typedef struct Scan
{
	const char *at;
	const char *end;
	bool		bad;
} Scan;

void
smem_page_record_put(SmemBuf *buf, const SmemPageRecord *record)
{
	smem_buf_printf(buf, "{\"page\":%llu,\"ids\":\"", (unsigned long long) record->page);
	for (uint32_t i = 0; i < record->n;)
	{
		uint32_t run = 0;

		while (i + run + 1 < record->n && record->ids[i + run] != INT64_MAX &&
			   record->ids[i + run + 1] == record->ids[i + run] + 1)
			run++;
		smem_buf_printf(buf, "%s%lld", i > 0 ? "," : "", (long long) record->ids[i]);
		if (run > 0)
			smem_buf_printf(buf, "+%u", (unsigned) run);
		i += run + 1;
	}
	smem_buf_puts(buf, "\"}");
}

static bool
skip(Scan *scan, const char *text)
{
	size_t len = strlen(text);

	if (scan->bad || (size_t) (scan->end - scan->at) < len || memcmp(scan->at, text, len) != 0)
		return false;
	scan->at += len;
	return true;
}

static void
expect(Scan *scan, const char *text)
{
	if (!skip(scan, text))
		scan->bad = true;
}

static uint64_t
scan_number(Scan *scan, uint64_t most)
{
	const char *from = scan->at;
	uint64_t	v = 0;

	while (!scan->bad && scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
	{
		unsigned digit = (unsigned) (*scan->at++ - '0');

		if (v > (most - digit) / 10)
			scan->bad = true;
		else
			v = v * 10 + digit;
	}
	if (scan->at == from)
		scan->bad = true;
	return v;
}

static int64_t
scan_id(Scan *scan)
{
	bool	 minus = skip(scan, "-");
	uint64_t v = scan_number(scan, (uint64_t) INT64_MAX + minus);

	return minus ? (int64_t) (0 - v) : (int64_t) v;
}

static void
scan_run(Scan *scan, SmemPageRecord *record)
{
	int64_t	 id = scan_id(scan);
	uint64_t run = skip(scan, "+") ? scan_number(scan, SMEM_PAGE_ROWS_MAX) : 0;

	if (record->n + run >= SMEM_PAGE_ROWS_MAX || id > INT64_MAX - (int64_t) run)
		scan->bad = true;
	for (uint64_t i = 0; i <= run && !scan->bad; i++)
		record->ids[record->n++] = id + (int64_t) i;
}

bool
smem_page_record_read(SmemStr text, SmemPageRecord *record)
{
	Scan scan = {text.data, text.data + text.len, text.data == NULL};

	record->n = 0;
	expect(&scan, "{\"page\":");
	record->page = scan_number(&scan, UINT64_MAX);
	expect(&scan, ",\"ids\":\"");
	do
		scan_run(&scan, record);
	while (skip(&scan, ","));
	expect(&scan, "\"}");
	return !scan.bad && scan.at == scan.end && record->page > 0;
}

bool
smem_page_record_equal(const SmemPageRecord *a, const SmemPageRecord *b)
{
	return a->page == b->page && a->n == b->n &&
		   memcmp(a->ids, b->ids, a->n * sizeof(a->ids[0])) == 0;
}
