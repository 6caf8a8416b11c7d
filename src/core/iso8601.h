/*
 * Times in the text form of ISO 8601, to the second, in UTC.
 *
 * Knows the years 1 to 9999 and nothing of time zones but their offsets, so
 * that the same text gives the same time wherever it is read.
 */
#ifndef SMEM_CORE_ISO8601_H
#define SMEM_CORE_ISO8601_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds since 1970. */
#define SMEM_ISO8601_MIN INT64_C(-62135596800)
#define SMEM_ISO8601_MAX INT64_C(253402300799)

/* YYYY-MM-DDThh:mm:ssZ and its NUL. */
#define SMEM_ISO8601_SIZE 21

/*
 * Reads YYYY-MM-DDThh:mm[:ss[.fraction]][Z|+hh|+hh:mm] as seconds since 1970.
 *
 * A fraction is cut, toward the past.  Without a zone the time is UTC.  False
 * for any other form, for a day that does not exist, for second 60, and for a
 * time outside of the years above.
 */
extern bool smem_iso8601_parse(const char *text, size_t n, int64_t *seconds);

/* Writes seconds within the bounds above. */
extern void smem_iso8601_format(int64_t seconds, char out[SMEM_ISO8601_SIZE]);

#endif
