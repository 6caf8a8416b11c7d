/* The circuit: every transition, with a clock that stands still. */
#include "core/breaker.h"
#include "tap.h"

#define PAUSE SMEM_SEC

static SmemBreaker
opened(SmemTime now)
{
	SmemBreaker brk;

	smem_breaker_init(&brk, 3);
	smem_breaker_failure(&brk, now, PAUSE, SMEM_BREAKER_CERTAIN, false);
	return brk;
}

static void
check_opening(void)
{
	SmemBreaker brk;

	smem_breaker_init(&brk, 3);
	tap_ok(smem_breaker_admit(&brk, 0) && brk.state == SMEM_BREAKER_CLOSED, "closed at first");
	smem_breaker_failure(&brk, 0, PAUSE, SMEM_BREAKER_DOUBT, false);
	smem_breaker_failure(&brk, 0, PAUSE, SMEM_BREAKER_DOUBT, false);
	tap_ok(brk.state == SMEM_BREAKER_CLOSED, "two doubts leave it closed");
	smem_breaker_success(&brk, 0);
	smem_breaker_failure(&brk, 0, PAUSE, SMEM_BREAKER_DOUBT, false);
	smem_breaker_failure(&brk, 0, PAUSE, SMEM_BREAKER_DOUBT, false);
	tap_ok(brk.state == SMEM_BREAKER_CLOSED, "a success begins the count anew");
	smem_breaker_failure(&brk, 0, PAUSE, SMEM_BREAKER_DOUBT, false);
	tap_ok(brk.state == SMEM_BREAKER_OPEN, "the third in a row opens it");
	brk = opened(0);
	tap_ok(brk.state == SMEM_BREAKER_OPEN, "one certain failure opens it");
}

static void
check_probe(void)
{
	SmemBreaker brk = opened(0);

	tap_ok(!smem_breaker_admit(&brk, PAUSE - 1), "nothing goes during the pause");
	tap_is_int(smem_breaker_next(&brk, 5), PAUSE, "it says when something may");
	tap_ok(smem_breaker_admit(&brk, PAUSE), "one goes after the pause");
	tap_ok(brk.state == SMEM_BREAKER_HALF_OPEN, "it is the probe");
	tap_ok(!smem_breaker_admit(&brk, 100 * PAUSE), "there is no second one");
	tap_ok(smem_breaker_next(&brk, 0) == SMEM_TIME_NEVER, "while it is on its way");
	smem_breaker_failure(&brk, PAUSE, PAUSE, SMEM_BREAKER_CERTAIN, false);
	tap_ok(brk.state == SMEM_BREAKER_HALF_OPEN, "an older request's failure does not end it");
	smem_breaker_failure(&brk, 2 * PAUSE, PAUSE, SMEM_BREAKER_DOUBT, true);
	tap_ok(brk.state == SMEM_BREAKER_OPEN && brk.probes == 1, "its own failure opens again");
	tap_ok(!smem_breaker_admit(&brk, 3 * PAUSE - 1) && smem_breaker_admit(&brk, 3 * PAUSE),
		   "with a new pause");
	smem_breaker_success(&brk, 3 * PAUSE);
	tap_ok(brk.state == SMEM_BREAKER_CLOSED && brk.failures == 0 && brk.probes == 0,
		   "its success closes");
	brk = opened(0);
	smem_breaker_admit(&brk, PAUSE);
	smem_breaker_abandon(&brk, PAUSE);
	tap_ok(smem_breaker_admit(&brk, PAUSE), "an abandoned probe makes room for another at once");
}

static void
check_hold(void)
{
	SmemBreaker brk = opened(0);

	smem_breaker_hold(&brk, 30 * SMEM_SEC);
	smem_breaker_hold(&brk, 10 * SMEM_SEC);
	tap_ok(!smem_breaker_admit(&brk, 30 * SMEM_SEC - 1), "a hold lets no probe through");
	smem_breaker_success(&brk, SMEM_SEC);
	tap_ok(!smem_breaker_admit(&brk, 30 * SMEM_SEC - 1),
		   "an older request's success does not end it");
	tap_ok(smem_breaker_admit(&brk, 30 * SMEM_SEC), "its end does");
	brk = opened(0);
	smem_breaker_hold(&brk, 30 * SMEM_SEC);
	smem_breaker_wake(&brk, 5);
	tap_ok(smem_breaker_admit(&brk, 5) && brk.state == SMEM_BREAKER_HALF_OPEN,
		   "waking ends pause and hold, and sends a probe");
	brk = opened(0);
	smem_breaker_success(&brk, 1);
	tap_ok(brk.state == SMEM_BREAKER_CLOSED, "without a hold an older request's success closes");
}

int
main(void)
{
	check_opening();
	check_probe();
	check_hold();
	return tap_done();
}
