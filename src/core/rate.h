/*
 * Counts events of the last minute, in bounded memory.
 *
 * Never lets more than the limit into any 60 seconds, and frees a place at
 * most 60 ms after its event is a minute old: events stand in buckets of
 * 60 ms, and a bucket counts until the youngest it may hold is old enough.
 * Lives in shared memory: no pointers, and zeroes are an empty count.
 *
 * The caller reads the clock under the lock that guards the count, so that
 * two callers bring their times in order.  Where the clock was set back by up
 * to a minute, the count stands still until the clock is there again; where
 * by more, all that was counted counts as of then.  Either way places come
 * free late, never early.
 */
#ifndef SMEM_CORE_RATE_H
#define SMEM_CORE_RATE_H

#include <stdbool.h>

#include "core/time.h"

#define SMEM_RATE_MINUTE (60 * SMEM_SEC)
#define SMEM_RATE_BUCKET (60 * SMEM_MSEC)
#define SMEM_RATE_BUCKETS 1024

typedef struct SmemRate
{
	int64_t	 head;	/* the newest bucket, in buckets since time 0 */
	uint32_t total; /* of all buckets */
	uint32_t buckets[SMEM_RATE_BUCKETS];
} SmemRate;

extern void smem_rate_init(SmemRate *rate);

/* Events of the last minute. */
extern uint32_t smem_rate_count(SmemRate *rate, SmemTime now);

/* Adds n events of the time at <= now; what is older than a minute adds nothing. */
extern void smem_rate_add(SmemRate *rate, SmemTime at, SmemTime now, uint32_t n);

/* Takes back n of what was added at that time, or what is left of it. */
extern void smem_rate_take_back(SmemRate *rate, SmemTime at, SmemTime now, uint32_t n);

/* When n more fit under the limit, if nothing else comes; NEVER where n > limit. */
extern SmemTime smem_rate_next(SmemRate *rate, SmemTime now, uint32_t n, uint32_t limit);

/* Whether nothing is counted: the place may be given to another. */
extern bool smem_rate_idle(SmemRate *rate, SmemTime now);

#endif
