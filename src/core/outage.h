/*
 * How long something was away: from the first failure of an outage to the
 * first moment at which it works again and nothing older than that is left to
 * do.
 *
 * Failures that did not open the circuit are no outage.  Times are the
 * caller's, in microseconds, greater than 0.
 */
#ifndef SMEM_CORE_OUTAGE_H
#define SMEM_CORE_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: all is well. */
typedef struct SmemOutage
{
	int64_t since;	/* first failure; 0: none since it was last well */
	bool	begun;	/* it is an outage, and counted as one */
	int64_t healed; /* works again, and the backlog is not drained yet; 0: it does not */
} SmemOutage;

/* It failed; broken says that this is an outage.  True where one begins with it. */
extern bool smem_outage_fails(SmemOutage *outage, int64_t now, bool broken);

/*
 * It works.  oldest is when the oldest thing that waits came, 0 where none
 * does.  Returns how long the outage was, once it is over; else 0.
 */
extern int64_t smem_outage_works(SmemOutage *outage, int64_t now, int64_t oldest);

#endif
