#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMEM_BUF_FIRST 256

void *
smem_alloc(size_t n)
{
	return calloc(1, n);
}

void *
smem_alloc_raw(size_t n)
{
	return malloc(n);
}

void
smem_release(void *p)
{
	free(p);
}

void
smem_buf_init(SmemBuf *buf, size_t max_bytes)
{
	memset(buf, 0, sizeof(*buf));
	buf->max = max_bytes;
}

void
smem_buf_free(SmemBuf *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->size = 0;
	smem_buf_reset(buf);
}

void
smem_buf_reset(SmemBuf *buf)
{
	buf->start = 0;
	buf->end = 0;
	buf->failed = false;
}

void
smem_buf_trim(SmemBuf *buf, size_t keep_bytes)
{
	if (smem_buf_len(buf) == 0 && buf->size > keep_bytes)
	{
		bool failed = buf->failed;

		smem_buf_free(buf);
		buf->failed = failed;
	}
}

/* Moves what is left to the front, where that alone may make the room. */
static void
close_gap(SmemBuf *buf)
{
	if (buf->start == 0)
		return;
	memmove(buf->data, buf->data + buf->start, smem_buf_len(buf));
	buf->end -= buf->start;
	buf->start = 0;
}

static bool
grow(SmemBuf *buf, size_t need)
{
	size_t size = buf->size ? buf->size : SMEM_BUF_FIRST;
	char  *data;

	if (need > buf->max)
		return false;
	while (size < need)
		size = size > buf->max / 2 ? buf->max : size * 2;
	data = realloc(buf->data, size);
	if (data == NULL)
		return false;
	buf->data = data;
	buf->size = size;
	return true;
}

char *
smem_buf_reserve(SmemBuf *buf, size_t n)
{
	if (buf->failed)
		return NULL;
	if (buf->size - buf->end < n)
	{
		/* Moving pays only when it frees at least half: else it is done for every row. */
		if (buf->start > 0 && (buf->start >= buf->size / 2 || smem_buf_len(buf) + n > buf->max))
			close_gap(buf);
		if (buf->size - buf->end < n && (n > SIZE_MAX - buf->end || !grow(buf, buf->end + n)))
		{
			close_gap(buf);
			if (buf->size - buf->end < n)
			{
				buf->failed = true;
				return NULL;
			}
		}
	}
	return buf->data + buf->end;
}

void
smem_buf_append(SmemBuf *buf, const void *bytes, size_t n)
{
	char *place;

	if (n == 0)
		return;
	place = smem_buf_reserve(buf, n);
	if (place == NULL)
		return;
	memcpy(place, bytes, n);
	buf->end += n;
}

void
smem_buf_puts(SmemBuf *buf, const char *text)
{
	smem_buf_append(buf, text, strlen(text));
}

void
smem_buf_putc(SmemBuf *buf, char c)
{
	smem_buf_append(buf, &c, 1);
}

void
smem_buf_printf(SmemBuf *buf, const char *fmt, ...)
{
	va_list args;
	int		n;
	char   *place;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
	{
		buf->failed = true;
		return;
	}
	place = smem_buf_reserve(buf, (size_t) n + 1);
	if (place == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(place, (size_t) n + 1, fmt, args);
	va_end(args);
	buf->end += (size_t) n;
}

const char *
smem_buf_text(SmemBuf *buf)
{
	char *place = smem_buf_reserve(buf, 1);

	if (place == NULL)
		return "";
	*place = '\0';
	return smem_buf_head(buf);
}

void
smem_buf_consume(SmemBuf *buf, size_t n)
{
	buf->start += n;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}
