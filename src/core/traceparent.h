/*
 * The form of a traceparent header (W3C Trace Context).
 */
#ifndef SMEM_CORE_TRACEPARENT_H
#define SMEM_CORE_TRACEPARENT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the text may stand in the header: version 00 in its exact form, or
 * a later version that begins with the same fields; ids that are not all
 * zero; small hexadecimal digits.
 */
extern bool smem_traceparent_valid(const char *text, size_t n);

#endif
