/*
 * A clock that nobody sets: microseconds since some moment, for pauses and
 * deadlines.
 */
#ifndef SMEM_PG_TICKS_H
#define SMEM_PG_TICKS_H

#include "portability/instr_time.h"

static inline int64
smem_ticks_us(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

#endif
