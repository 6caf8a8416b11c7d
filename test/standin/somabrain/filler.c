#include "filler.h"

#include <stdio.h>
#include <string.h>

#include "http.h"

#define FILLER_STEP ((size_t) 256 * 1024)
#define SPACES 4096

/* Spaces by the million: a block of fixed codes, and eight copies of 258 bytes each. */
#define GZIP_START "\x1f\x8b\x08\0\0\0\0\0\x02\x03\x53\x50"
#define GZIP_COPIES "\x18\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x28"

static SmemSlice
spaces(void)
{
	static char text[SPACES];
	SmemSlice	slice = {text, sizeof(text)};

	memset(text, ' ', sizeof(text));
	return slice;
}

static SmemSlice
chunk(void)
{
	static char text[SPACES + 16];
	SmemSlice	slice = {text, 0};

	slice.len = (size_t) snprintf(text, sizeof(text), "%x\r\n%*s\r\n", SPACES, SPACES, "");
	return slice;
}

static void
repeat(SmemReply *reply, SmemSlice filler, uint64_t bytes)
{
	reply->filler = filler;
	reply->filler_left = bytes;
}

void
smem_filler_start(const SmemRule *rule, SmemBuf *out, SmemReply *reply)
{
	SmemSlice copies = {GZIP_COPIES, sizeof(GZIP_COPIES) - 1};

	switch (rule->kind)
	{
		case SMEM_FAULT_LARGE:
			smem_http_start(out, 200, "", (size_t) rule->bytes);
			repeat(reply, spaces(), (uint64_t) rule->bytes);
			break;
		case SMEM_FAULT_ENDLESS_BODY:
			smem_buf_puts(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
			repeat(reply, chunk(), UINT64_MAX);
			break;
		case SMEM_FAULT_ENDLESS_HEADERS:
			smem_buf_puts(out, "HTTP/1.1 200 OK\r\n");
			repeat(reply, smem_slice("X-Filler: once more, and one more after it\r\n"), UINT64_MAX);
			break;
		case SMEM_FAULT_ENDLESS_LINE:
			smem_buf_puts(out, "HTTP/1.1 200 OK\r\nX-Filler:");
			repeat(reply, smem_slice(" and on"), UINT64_MAX);
			break;
		case SMEM_FAULT_ENDLESS_INTERIM:
			repeat(reply, smem_slice("HTTP/1.1 102 Processing\r\nX-Filler: wait\r\n\r\n"),
				   UINT64_MAX);
			break;
		case SMEM_FAULT_GZIP:
			smem_buf_puts(out, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
			smem_buf_append(out, GZIP_START, sizeof(GZIP_START) - 1);
			repeat(reply, copies, UINT64_MAX);
			break;
		default:
			break;
	}
}

bool
smem_filler_more(SmemReply *reply, SmemBuf *out)
{
	size_t written = 0;

	while (reply->filler_left > 0 && written < FILLER_STEP)
	{
		size_t n = reply->filler.len;

		if (reply->filler_left != UINT64_MAX)
		{
			if (n > reply->filler_left)
				n = (size_t) reply->filler_left;
			reply->filler_left -= n;
		}
		smem_buf_append(out, reply->filler.data, n);
		written += n;
	}
	return written > 0;
}
