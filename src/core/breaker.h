/*
 * The circuit: keeps a sink that fails from being asked again and again.
 *
 * The caller asks smem_breaker_admit before each request, and reports how
 * each ended.  A request that was admitted while the circuit was not closed
 * is the probe: there is never more than one, and its end must be reported
 * with probe = true.  Pure: the caller brings the clock and the pause.
 *
 *             threshold failures in a row, or one that is certain
 *      CLOSED -----------------------------------------------------> OPEN
 *        ^  ^                                                       |    ^
 *        |  |  any success                     the pause is over,   |    |
 *        |  +----------------------------------  one is admitted    |    |
 *        |                                                          v    |
 *        +-------------------------------------------------- HALF_OPEN --+
 *                              success                           failure
 */
#ifndef SMEM_CORE_BREAKER_H
#define SMEM_CORE_BREAKER_H

#include <stdbool.h>

#include "core/time.h"

typedef enum SmemBreakerState
{
	/* Everything is admitted. */
	SMEM_BREAKER_CLOSED,
	/* The probe is on its way; nothing else is admitted. */
	SMEM_BREAKER_HALF_OPEN,
	/* Nothing is admitted before the pause is over. */
	SMEM_BREAKER_OPEN
} SmemBreakerState;

typedef enum SmemBreakerFailure
{
	/* May be the request's own fault: counted, and the circuit opens at the threshold. */
	SMEM_BREAKER_DOUBT,
	/* Cannot be the request's fault, such as a refused connection: opens at once. */
	SMEM_BREAKER_CERTAIN
} SmemBreakerFailure;

typedef struct SmemBreaker
{
	SmemBreakerState state;
	uint32_t		 threshold;
	uint32_t		 failures;	  /* in a row, of any request */
	uint32_t		 probes;	  /* that failed since the circuit opened */
	SmemTime		 pause_until; /* OPEN: when the next probe may go */
	SmemTime		 hold_until;  /* the sink asked for silence until then */
} SmemBreaker;

extern void smem_breaker_init(SmemBreaker *brk, uint32_t threshold);

/* Whether a request may go now.  The first one after the pause becomes the probe. */
extern bool smem_breaker_admit(SmemBreaker *brk, SmemTime now);

/* Whether smem_breaker_admit would say yes, without taking the probe's place. */
extern bool smem_breaker_would_admit(const SmemBreaker *brk, SmemTime now);

extern void smem_breaker_success(SmemBreaker *brk, SmemTime now);

/* pause is how long the circuit stays open at least, where this failure opens it. */
extern void smem_breaker_failure(SmemBreaker *brk, SmemTime now, SmemTime pause,
								 SmemBreakerFailure failure, bool probe);

/* The probe ended without telling anything about the sink: another may go at once. */
extern void smem_breaker_abandon(SmemBreaker *brk, SmemTime now);

/* The sink asked for silence; no request goes before, not even a probe. */
extern void smem_breaker_hold(SmemBreaker *brk, SmemTime until);

/* Forgets pause and hold: the next request is a probe, if the circuit is open. */
extern void smem_breaker_wake(SmemBreaker *brk, SmemTime now);

/* When smem_breaker_admit may say yes at the earliest; NEVER while a probe is on its way. */
extern SmemTime smem_breaker_next(const SmemBreaker *brk, SmemTime now);

#endif
