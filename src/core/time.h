/*
 * Time as core and courier see it: microseconds of a clock that never goes
 * back.  Core has no clock: the caller brings it.
 */
#ifndef SMEM_CORE_TIME_H
#define SMEM_CORE_TIME_H

#include <stdint.h>

typedef int64_t SmemTime;

#define SMEM_TIME_NEVER INT64_MAX
#define SMEM_MSEC ((SmemTime) 1000)
#define SMEM_SEC ((SmemTime) 1000000)

static inline SmemTime
smem_time_min(SmemTime a, SmemTime b)
{
	return a < b ? a : b;
}

static inline SmemTime
smem_time_max(SmemTime a, SmemTime b)
{
	return a > b ? a : b;
}

#endif
