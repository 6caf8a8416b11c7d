/*
 * Decides how long a failed attempt waits before it is tried again.
 *
 * The ceiling doubles with each failure, from initial to max; the wait is
 * anything from zero to the ceiling (full jitter), so that many that failed
 * together do not come back together.  Pure: the caller brings the dice.
 */
#ifndef SMEM_CORE_RETRY_H
#define SMEM_CORE_RETRY_H

#include "core/time.h"

typedef struct SmemRetry
{
	SmemTime initial;
	SmemTime max;
} SmemRetry;

/* The longest wait after that many failures in a row; 0 after none. */
extern SmemTime smem_retry_ceiling(const SmemRetry *retry, uint32_t failures);

/* A wait between zero and the ceiling; dice is any 64 random bits. */
extern SmemTime smem_retry_delay(const SmemRetry *retry, uint32_t failures, uint64_t dice);

#endif
