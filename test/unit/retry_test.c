/* The schedule: doubling, ceiling, jitter. */
#include "core/retry.h"
#include "tap.h"

static void
check_ceilings(void)
{
	static const struct
	{
		uint32_t failures;
		SmemTime want;
	} cases[] = {
		{0, 0},
		{1, SMEM_SEC},
		{2, 2 * SMEM_SEC},
		{3, 4 * SMEM_SEC},
		{6, 32 * SMEM_SEC},
		{7, 60 * SMEM_SEC},
		{8, 60 * SMEM_SEC},
		{UINT32_MAX, 60 * SMEM_SEC},
	};
	SmemRetry retry = {SMEM_SEC, 60 * SMEM_SEC};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(smem_retry_ceiling(&retry, cases[i].failures) == cases[i].want,
			   "ceiling after %u failures", cases[i].failures);
}

static void
check_delays(void)
{
	SmemRetry retry = {SMEM_SEC, 60 * SMEM_SEC};
	SmemRetry longest = {SMEM_TIME_NEVER / 2 + 1, SMEM_TIME_NEVER};
	SmemRetry crossed = {60 * SMEM_SEC, SMEM_SEC};

	tap_is_int(smem_retry_delay(&retry, 0, UINT64_MAX), 0, "no wait after no failure");
	tap_is_int(smem_retry_delay(&retry, 3, 0), 0, "jitter goes down to nothing");
	tap_is_int(smem_retry_delay(&retry, 3, 4 * SMEM_SEC), 4 * SMEM_SEC, "and up to the ceiling");
	tap_is_int(smem_retry_delay(&retry, 3, 4 * SMEM_SEC + 1), 0, "not beyond");
	tap_ok(smem_retry_delay(&longest, 5, UINT64_MAX) >= 0, "the largest times do not overflow");
	tap_is_int(smem_retry_ceiling(&crossed, 4), SMEM_SEC, "max wins over a larger initial");
}

int
main(void)
{
	check_ceilings();
	check_delays();
	return tap_done();
}
