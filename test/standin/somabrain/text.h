/*
 * Text helpers that the stand-in's files share: slices, JSON strings, digests.
 */
#ifndef STANDIN_TEXT_H
#define STANDIN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

/* A slice of somebody else's bytes; data is NULL when absent. */
typedef struct SmemSlice
{
	const char *data;
	size_t		len;
} SmemSlice;

/* Two halves of a 128-bit fingerprint; collisions are not expected in a test's lifetime. */
typedef struct SmemPrint
{
	uint64_t high;
	uint64_t low;
} SmemPrint;

#define SMEM_SHA_HEX 65

extern SmemSlice smem_slice(const char *text);
extern bool		 smem_slice_is(SmemSlice slice, const char *text);
extern bool		 smem_slice_same(SmemSlice a, SmemSlice b);
extern bool		 smem_slice_contains(SmemSlice hay, SmemSlice needle);

/* Appends a JSON string with its quotes, or null where the slice is absent. */
extern void smem_text_json(SmemBuf *buf, SmemSlice text);

/* Decodes %XX in place of a header's value; false when it is malformed or not plain ASCII. */
extern bool smem_text_percent_decode(SmemSlice text, SmemBuf *out);

/* Mixes two slices; ("a", "bc") and ("ab", "c") differ. */
extern SmemPrint smem_text_print(SmemSlice a, SmemSlice b);

/* SHA-256 in hex over n slices joined by line feeds. */
extern void smem_text_sha256(const SmemSlice *parts, size_t n, size_t stride,
							 char hex[SMEM_SHA_HEX]);

#endif
