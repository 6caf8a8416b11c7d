#include "core/histogram.h"

#define SMEM_PER_DECADE 10

static const uint64_t smem_mantissa[SMEM_PER_DECADE] = {10, 12, 15, 20, 25, 30, 40, 50, 60, 80};

static const uint64_t smem_power[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};

uint64_t
smem_bucket_bound(int bucket)
{
	if (bucket >= SMEM_BUCKETS - 1)
		return UINT64_MAX;
	return smem_mantissa[bucket % SMEM_PER_DECADE] * smem_power[bucket / SMEM_PER_DECADE];
}

int
smem_bucket_of(uint64_t value)
{
	int low = 0;
	int high = SMEM_BUCKETS - 1;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (smem_bucket_bound(middle) < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

double
smem_bucket_quantile(const uint64_t *count, double share)
{
	uint64_t rank;
	uint64_t all = 0;
	uint64_t below = 0;

	for (int i = 0; i < SMEM_BUCKETS; i++)
		all += count[i];
	if (all == 0)
		return 0.0;
	rank = (uint64_t) ((double) all * share);
	if (rank < 1 || (double) rank < (double) all * share)
		rank++;
	for (int i = 0; i < SMEM_BUCKETS - 1; i++)
	{
		double from = i == 0 ? 0.0 : (double) smem_bucket_bound(i - 1);
		double to = (double) smem_bucket_bound(i);

		if (below + count[i] >= rank)
			return from + (to - from) * (double) (rank - below) / (double) count[i];
		below += count[i];
	}
	return (double) smem_bucket_bound(SMEM_BUCKETS - 2);
}
