/*
 * The system's clock may jump, by hand, by its own correction, or because the
 * machine slept: no pause is longer for that, and no silence.
 *
 * Times in memory are moved along with it.  Those in tables and in shared
 * memory stay, so one that lies further ahead than any pause is taken for one
 * of a clock that was set back.
 */
#ifndef SMEM_WORKER_CLOCK_H
#define SMEM_WORKER_CLOCK_H

#include "worker/shipper.h"

/*
 * Takes the time of a turn; where the clock has jumped, all times that the
 * shipper remembers are moved.  Returns by how much, for the caller's own.
 */
extern int64_t smem_clock_take(SmemShipper *sh);

/* Whether a pause is over that lasts until at, and never longer than this. */
extern bool smem_clock_is_due(TimestampTz at, TimestampTz now, int64_t longest);

#endif
