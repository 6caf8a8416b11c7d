/*
 * What the fuzz targets share: claims that end the run, and input that is cut
 * into pieces.
 *
 * A target claims what any caller relies on.  A claim that fails is a crash to
 * the fuzzer, which then keeps the input.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/frame.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CLAIM(what)                                                                           \
	do                                                                                             \
	{                                                                                              \
		if (!(what))                                                                               \
		{                                                                                          \
			fprintf(stderr, "%s:%d: claim fails: %s\n", __FILE__, __LINE__, #what);                \
			abort();                                                                               \
		}                                                                                          \
	} while (0)

/* What is left of the input. */
typedef struct Input
{
	const uint8_t *at;
	size_t		   left;
} Input;

/* The next byte, 0 at the end. */
static inline uint8_t
next_byte(Input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

/* The rest in memory of exactly its size, so that a sanitizer sees each byte read beyond it. */
static inline SmemStr
copy_rest(const Input *in)
{
	char   *copy = malloc(in->left > 0 ? in->left : 1);
	SmemStr s = {copy, in->left};

	if (in->left > 0)
		memcpy(copy, in->at, in->left);
	return s;
}

static inline bool
is_within(SmemStr part, SmemStr whole)
{
	return part.data == NULL ||
		   (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

/* What was read of a frame, and is written again, is the frame; releases it. */
static inline void
check_frame(SmemBuf *again, const SmemBuf *buf)
{
	FUZZ_CLAIM(smem_buf_len(again) == smem_frame_size(buf));
	FUZZ_CLAIM(memcmp(smem_buf_head(again), smem_buf_head(buf), smem_buf_len(again)) == 0);
	smem_buf_free(again);
}

/* UTF-8 by way of the code points, where the product goes by the ranges of bytes. */
static inline bool
is_utf8(SmemStr s)
{
	for (size_t i = 0; i < s.len;)
	{
		unsigned char c = (unsigned char) s.data[i];
		size_t		  n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
		uint32_t	  code = n == 1 ? c : c & (0x7Fu >> n);
		size_t		  needed;

		if (n == 0 || n > s.len - i)
			return false;
		for (size_t k = 1; k < n; k++)
		{
			if (((unsigned char) s.data[i + k] & 0xC0) != 0x80)
				return false;
			code = code << 6 | ((unsigned char) s.data[i + k] & 0x3F);
		}
		needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		if (needed != n || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
			return false;
		i += n;
	}
	return true;
}

#endif
