/*
 * Reads the HTTP header Retry-After: seconds, or a date in one of the three
 * forms that HTTP knows.
 */
#ifndef SMEM_CORE_RETRY_AFTER_H
#define SMEM_CORE_RETRY_AFTER_H

#include "core/frame.h"

/* Longer than this is taken for a mistake and cut. */
#define SMEM_RETRY_AFTER_MAX (24 * 60 * 60)

/* Seconds since the epoch of an HTTP date, or false.  now_s decides years of two digits. */
extern bool smem_http_date(SmemStr text, int64_t now_s, int64_t *at_s);

/*
 * How many seconds to wait, from now_s on; 0 for a date that is past.  False
 * when the header is neither form.
 */
extern bool smem_retry_after(SmemStr text, int64_t now_s, int64_t *delay_s);

#endif
