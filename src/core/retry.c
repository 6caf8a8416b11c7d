#include "core/retry.h"

SmemTime
smem_retry_ceiling(const SmemRetry *retry, uint32_t failures)
{
	SmemTime ceiling = smem_time_min(retry->initial, retry->max);

	if (failures == 0)
		return 0;
	while (--failures > 0 && ceiling < retry->max)
		ceiling = ceiling > retry->max / 2 ? retry->max : ceiling * 2;
	return ceiling;
}

SmemTime
smem_retry_delay(const SmemRetry *retry, uint32_t failures, uint64_t dice)
{
	SmemTime ceiling = smem_retry_ceiling(retry, failures);

	return (SmemTime) (dice % ((uint64_t) ceiling + 1));
}
