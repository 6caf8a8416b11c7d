/*
 * Puts the rows of a batch into a request.
 *
 * Payloads are JSON already and go in as they are.
 */
#include "courier/brain.h"

#include <openssl/evp.h>

#include "core/encode.h"
#include "courier/random.h"

static void
put_member(SmemBuf *buf, const char *name, SmemStr text)
{
	smem_buf_puts(buf, name);
	smem_encode_json(buf, text);
}

/* The members of one item; the brace before it and after it are the caller's. */
static void
put_item(SmemBuf *buf, const SmemRow *row)
{
	put_member(buf, "\"key\":", row->key);
	smem_buf_puts(buf, ",\"value\":");
	smem_buf_append(buf, row->payload.data, row->payload.len);
	if (row->extras.len > 0)
	{
		smem_buf_putc(buf, ',');
		smem_buf_append(buf, row->extras.data, row->extras.len);
	}
	if (smem_str_present(row->universe))
		put_member(buf, ",\"universe\":", row->universe);
}

static void
put_batch(SmemBuf *buf, SmemItem **items, uint32_t n)
{
	const SmemRow *first = &items[0]->row;

	put_member(buf, "{\"tenant\":", first->tenant);
	put_member(buf, ",\"namespace\":", first->namespace);
	smem_buf_puts(buf, ",\"items\":[");
	for (uint32_t i = 0; i < n; i++)
	{
		smem_buf_puts(buf, i == 0 ? "{" : ",{");
		put_item(buf, &items[i]->row);
		smem_buf_putc(buf, '}');
	}
	smem_buf_puts(buf, "]}");
}

static void
put_single(SmemBuf *buf, const SmemRow *row)
{
	put_member(buf, "{\"tenant\":", row->tenant);
	put_member(buf, ",\"namespace\":", row->namespace);
	smem_buf_putc(buf, ',');
	put_item(buf, row);
	smem_buf_putc(buf, '}');
}

static void
put_legacy(SmemBuf *buf, const SmemRow *row)
{
	smem_buf_puts(buf, "{\"payload\":");
	smem_buf_append(buf, row->payload.data, row->payload.len);
	if (smem_str_present(row->universe))
		put_member(buf, ",\"universe\":", row->universe);
	smem_buf_putc(buf, '}');
}

/* SHA-256 over the keys in order, joined by a line feed. */
static void
put_keys_hash(SmemBuf *buf, SmemItem **items, uint32_t n)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int  len = 0;
	size_t		  start = smem_buf_len(buf);

	/* Joined behind the header's name, hashed there, and replaced by the hash. */
	for (uint32_t i = 0; i < n; i++)
	{
		if (i > 0)
			smem_buf_putc(buf, '\n');
		smem_buf_append(buf, items[i]->row.key.data, items[i]->row.key.len);
	}
	if (buf->failed || EVP_Digest(smem_buf_head(buf) + start, smem_buf_len(buf) - start, digest,
								  &len, EVP_sha256(), NULL) != 1)
	{
		buf->failed = true;
		return;
	}
	buf->end = buf->start + start;
	smem_encode_hex(buf, digest, len);
}

/* A trace header comes from a caller of SQL: nothing in it may end the line. */
static bool
is_header_text(SmemStr s)
{
	for (size_t i = 0; i < s.len; i++)
	{
		if ((unsigned char) s.data[i] < 0x20 || (unsigned char) s.data[i] >= 0x7f)
			return false;
	}
	return s.len > 0;
}

static SmemStr
find_traceparent(SmemItem **items, uint32_t n)
{
	SmemStr none = {NULL, 0};

	for (uint32_t i = 0; i < n; i++)
	{
		if (is_header_text(items[i]->row.traceparent))
			return items[i]->row.traceparent;
	}
	return none;
}

/* Ends the header that line holds, and empties line for the next. */
static bool
add_line(SmemHttpCall *call, SmemBuf *line)
{
	bool ok = smem_http_header(call, smem_buf_text(line)) && !line->failed;

	smem_buf_reset(line);
	return ok;
}

static bool
put_headers(SmemBrain *brain, SmemHttpCall *call, SmemItem **items, uint32_t n)
{
	SmemBuf	   *line = &brain->scratch;
	const char *token = smem_secret_text(&brain->token);
	SmemStr		trace = find_traceparent(items, n);
	char		uuid[SMEM_UUID_TEXT];
	bool		ok;

	smem_random_uuid(uuid);
	smem_buf_reset(line);
	ok = smem_http_header(call, "Content-Type: application/json") &&
		 smem_http_header(call, "Accept: application/json");
	smem_buf_puts(line, "X-Tenant-ID: ");
	smem_encode_percent(line, items[0]->row.tenant);
	ok = ok && add_line(call, line);
	smem_buf_printf(line, "X-Request-ID: %s", uuid);
	ok = ok && add_line(call, line);
	smem_buf_puts(line, "Idempotency-Key: ");
	put_keys_hash(line, items, n);
	ok = ok && add_line(call, line);
	if (smem_str_present(trace))
	{
		smem_buf_puts(line, "traceparent: ");
		smem_buf_append(line, trace.data, trace.len);
		ok = ok && add_line(call, line);
	}
	if (token != NULL)
	{
		smem_buf_printf(line, "Authorization: Bearer %s", token);
		ok = ok && add_line(call, line);
	}
	return ok;
}

bool
smem_brain_request(SmemBatch *batch, SmemHttpCall *call)
{
	SmemBuf *body = smem_http_body(call);
	uint32_t n = batch->split.tried;

	switch (batch->form)
	{
		case SMEM_BRAIN_BATCH:
			put_batch(body, batch->items, n);
			break;
		case SMEM_BRAIN_SINGLE:
			put_single(body, &batch->items[0]->row);
			break;
		default:
			put_legacy(body, &batch->items[0]->row);
	}
	return put_headers(batch->brain, call, batch->items, n) && !body->failed;
}
