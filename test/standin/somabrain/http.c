#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX (64 * 1024)

static SmemSlice
trim(const char *from, const char *to)
{
	SmemSlice slice;

	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r'))
		to--;
	slice.data = from;
	slice.len = (size_t) (to - from);
	return slice;
}

static bool
is_named(SmemSlice name, const char *want)
{
	return name.len == strlen(want) && strncasecmp(name.data, want, name.len) == 0;
}

/* False when the body's length cannot be known from it. */
static bool
take_header(SmemHead *head, SmemSlice name, SmemSlice value)
{
	if (is_named(name, "content-length"))
	{
		char *end;

		head->body_len = strtoull(value.data, &end, 10);
		return value.len > 0 && end == value.data + value.len;
	}
	if (is_named(name, "transfer-encoding"))
		return false;
	if (is_named(name, "authorization"))
		head->authorization = value;
	else if (is_named(name, "x-tenant-id"))
		head->tenant = value;
	else if (is_named(name, "x-request-id"))
		head->request_id = value;
	else if (is_named(name, "idempotency-key"))
		head->idempotency_key = value;
	else if (is_named(name, "traceparent"))
		head->traceparent = value;
	else if (is_named(name, "content-type"))
		head->content_type = value;
	else if (is_named(name, "expect"))
		head->expects_continue = is_named(value, "100-continue");
	else if (is_named(name, "connection"))
		head->closes = is_named(value, "close");
	return true;
}

static bool
take_request_line(SmemHead *head, SmemSlice line)
{
	const char *end = line.data + line.len;
	const char *space = memchr(line.data, ' ', line.len);
	const char *second = space ? memchr(space + 1, ' ', (size_t) (end - space - 1)) : NULL;

	if (second == NULL || (size_t) (end - second) < 9 || memcmp(second, " HTTP/1.", 8) != 0)
		return false;
	head->method.data = line.data;
	head->method.len = (size_t) (space - line.data);
	head->path.data = space + 1;
	head->path.len = (size_t) (second - space - 1);
	return true;
}

SmemHeadStatus
smem_http_head(SmemSlice bytes, SmemHead *head)
{
	const char *at = bytes.data;
	const char *end;
	const char *stop = memmem(bytes.data, bytes.len, "\r\n\r\n", 4);

	memset(head, 0, sizeof(*head));
	if (stop == NULL)
		return bytes.len > HEAD_MAX ? SMEM_HEAD_REFUSED : SMEM_HEAD_PARTIAL;
	head->head_len = (size_t) (stop + 4 - bytes.data);
	stop += 2;
	end = memchr(at, '\n', (size_t) (stop - at));
	if (!take_request_line(head, trim(at, end)))
		return SMEM_HEAD_REFUSED;
	for (at = end + 1; at < stop; at = end + 1)
	{
		const char *colon;

		end = memchr(at, '\n', (size_t) (stop - at));
		colon = memchr(at, ':', (size_t) (end - at));
		if (colon == NULL || !take_header(head, trim(at, colon), trim(colon + 1, end)))
			return SMEM_HEAD_REFUSED;
	}
	return SMEM_HEAD_READY;
}

void
smem_http_start(SmemBuf *out, int status, const char *extra, size_t body_len)
{
	smem_buf_printf(out,
					"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
					"Content-Length: %zu\r\n%s\r\n",
					status, status < 300 ? "OK" : "Stand-In", body_len, extra);
}

void
smem_http_answer(SmemBuf *out, int status, const char *extra, SmemSlice body)
{
	smem_http_start(out, status, extra, body.len);
	smem_buf_append(out, body.data, body.len);
}
