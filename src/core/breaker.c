#include "core/breaker.h"

#include <assert.h>
#include <string.h>

void
smem_breaker_init(SmemBreaker *brk, uint32_t threshold)
{
	memset(brk, 0, sizeof(*brk));
	brk->state = SMEM_BREAKER_CLOSED;
	brk->threshold = threshold;
}

static void
to_closed(SmemBreaker *brk)
{
	brk->state = SMEM_BREAKER_CLOSED;
	brk->failures = 0;
	brk->probes = 0;
	brk->pause_until = 0;
}

static void
to_half_open(SmemBreaker *brk)
{
	assert(brk->state == SMEM_BREAKER_OPEN);
	brk->state = SMEM_BREAKER_HALF_OPEN;
}

static void
to_open(SmemBreaker *brk, SmemTime until)
{
	assert(brk->state != SMEM_BREAKER_OPEN);
	if (brk->state == SMEM_BREAKER_HALF_OPEN)
		brk->probes++;
	brk->state = SMEM_BREAKER_OPEN;
	brk->pause_until = until;
}

SmemTime
smem_breaker_next(const SmemBreaker *brk, SmemTime now)
{
	switch (brk->state)
	{
		case SMEM_BREAKER_CLOSED:
			return smem_time_max(now, brk->hold_until);
		case SMEM_BREAKER_OPEN:
			return smem_time_max(now, smem_time_max(brk->pause_until, brk->hold_until));
		case SMEM_BREAKER_HALF_OPEN:
			break;
	}
	return SMEM_TIME_NEVER;
}

bool
smem_breaker_would_admit(const SmemBreaker *brk, SmemTime now)
{
	return smem_breaker_next(brk, now) <= now;
}

bool
smem_breaker_admit(SmemBreaker *brk, SmemTime now)
{
	if (!smem_breaker_would_admit(brk, now))
		return false;
	if (brk->state == SMEM_BREAKER_OPEN)
		to_half_open(brk);
	return true;
}

void
smem_breaker_success(SmemBreaker *brk, SmemTime now)
{
	/* An answer that was on its way when the sink asked for silence does not end the silence. */
	if (brk->state == SMEM_BREAKER_OPEN && brk->hold_until > now)
		brk->failures = 0;
	else
		to_closed(brk);
}

void
smem_breaker_failure(SmemBreaker *brk, SmemTime now, SmemTime pause, SmemBreakerFailure failure,
					 bool probe)
{
	if (brk->failures < UINT32_MAX)
		brk->failures++;
	switch (brk->state)
	{
		case SMEM_BREAKER_CLOSED:
			if (failure == SMEM_BREAKER_CERTAIN || brk->failures >= brk->threshold)
				to_open(brk, now + pause);
			break;
		case SMEM_BREAKER_HALF_OPEN:
			/* What was on the wire before the circuit opened says nothing about the probe. */
			if (probe)
				to_open(brk, now + pause);
			break;
		case SMEM_BREAKER_OPEN:
			break;
	}
}

void
smem_breaker_abandon(SmemBreaker *brk, SmemTime now)
{
	if (brk->state == SMEM_BREAKER_HALF_OPEN)
		to_open(brk, now);
}

void
smem_breaker_hold(SmemBreaker *brk, SmemTime until)
{
	brk->hold_until = smem_time_max(brk->hold_until, until);
}

void
smem_breaker_wake(SmemBreaker *brk, SmemTime now)
{
	brk->hold_until = 0;
	brk->pause_until = smem_time_min(brk->pause_until, now);
}
