/*
 * A byte buffer that grows up to a ceiling.
 *
 * The only place in core and courier that calls malloc.  A buffer whose
 * growth was refused (ceiling or memory) keeps what it holds and says so by
 * buf->failed; every later append is ignored, so a caller checks once, at the
 * end.  Bytes are consumed from the front without being moved each time.
 * What is no run of bytes comes from smem_alloc.
 */
#ifndef SMEM_CORE_BUF_H
#define SMEM_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SmemBuf
{
	char  *data;   /* allocation, NULL while nothing was appended */
	size_t start;  /* first byte not yet consumed */
	size_t end;	   /* one past the last byte */
	size_t size;   /* bytes allocated */
	size_t max;	   /* ceiling of size, set by smem_buf_init */
	bool   failed; /* an append was refused since the last reset */
} SmemBuf;

/* Zeroed memory, or NULL; smem_release takes NULL too. */
extern void *smem_alloc(size_t n);

/* Memory whose content is the caller's to fill in. */
extern void *smem_alloc_raw(size_t n);
extern void	 smem_release(void *p);

extern void smem_buf_init(SmemBuf *buf, size_t max_bytes);
extern void smem_buf_free(SmemBuf *buf);
extern void smem_buf_reset(SmemBuf *buf);

/* Gives memory back when the buffer is empty and holds more than keep_bytes. */
extern void smem_buf_trim(SmemBuf *buf, size_t keep_bytes);

/* Makes room for n more bytes behind the end; NULL when refused. */
extern char *smem_buf_reserve(SmemBuf *buf, size_t n);
extern void	 smem_buf_append(SmemBuf *buf, const void *bytes, size_t n);
extern void	 smem_buf_puts(SmemBuf *buf, const char *text);
extern void	 smem_buf_putc(SmemBuf *buf, char c);
extern void	 smem_buf_printf(SmemBuf *buf, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Ends the text with a NUL that is not counted and returns its start; "" when empty or failed. */
extern const char *smem_buf_text(SmemBuf *buf);

extern void smem_buf_consume(SmemBuf *buf, size_t n);

static inline size_t
smem_buf_len(const SmemBuf *buf)
{
	return buf->end - buf->start;
}

static inline char *
smem_buf_head(const SmemBuf *buf)
{
	return buf->data + buf->start;
}

#endif
