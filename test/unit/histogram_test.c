/* Buckets: their bounds, where values fall, what percentiles are. */
#include "core/histogram.h"
#include "tap.h"

static void
check_bounds(void)
{
	/* What people ask for, in units of 10 us up to a minute. */
	static const uint64_t round[] = {100, 250, 500, 1000, 2500, 5000, 3000000, 6000000};

	tap_ok(smem_bucket_bound(0) == 10, "the first bucket ends at ten units");
	tap_ok(smem_bucket_bound(SMEM_BUCKETS - 1) == UINT64_MAX, "the last has no end");
	for (int i = 1; i < SMEM_BUCKETS; i++)
	{
		if (smem_bucket_bound(i) <= smem_bucket_bound(i - 1))
			tap_ok(false, "bound %d is above the one before", i);
	}
	for (size_t i = 0; i < sizeof(round) / sizeof(round[0]); i++)
		tap_ok(smem_bucket_bound(smem_bucket_of(round[i])) == round[i], "%llu is a bound",
			   (unsigned long long) round[i]);
}

static void
check_places(void)
{
	int wrong = 0;

	for (int i = 0; i < SMEM_BUCKETS - 1; i++)
	{
		uint64_t bound = smem_bucket_bound(i);

		wrong += smem_bucket_of(bound) != i || smem_bucket_of(bound + 1) != i + 1;
	}
	tap_is_int(wrong, 0, "a bound belongs to its bucket, what is above to the next");
	tap_is_int(smem_bucket_of(0), 0, "nothing is in the first");
	tap_is_int(smem_bucket_of(UINT64_MAX), SMEM_BUCKETS - 1, "the greatest is in the last");
}

static void
check_quantiles(void)
{
	uint64_t count[SMEM_BUCKETS] = {0};
	double	 p50;

	tap_ok(smem_bucket_quantile(count, 0.5) == 0.0, "of nothing it is 0");
	for (uint64_t v = 1; v <= 10000; v++)
		count[smem_bucket_of(v)]++;
	p50 = smem_bucket_quantile(count, 0.5);
	tap_ok(p50 > 4900 && p50 < 5100, "the median of 1 to 10,000 is in the middle: %.0f", p50);
	tap_ok(smem_bucket_quantile(count, 0.99) > 9500 && smem_bucket_quantile(count, 0.99) <= 10000,
		   "the 99th percentile is near the end");
	tap_ok(smem_bucket_quantile(count, 1.0) == 10000.0, "all of them is the last bound");
	tap_ok(smem_bucket_quantile(count, 0.0) > 0.0, "none of them is the first value");
	count[SMEM_BUCKETS - 1] = 1000000;
	tap_ok(smem_bucket_quantile(count, 0.99) == (double) smem_bucket_bound(SMEM_BUCKETS - 2),
		   "above the last bound there is but that bound to tell");
}

int
main(void)
{
	check_bounds();
	check_places();
	check_quantiles();
	return tap_done();
}
