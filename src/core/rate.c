#include "core/rate.h"

#include <string.h>

/* Buckets behind the head that may hold an event which is not yet a minute old. */
#define SMEM_RATE_SPAN (SMEM_RATE_MINUTE / SMEM_RATE_BUCKET)

_Static_assert(SMEM_RATE_SPAN < SMEM_RATE_BUCKETS,
			   "the ring holds a minute and the bucket at hand");

static int64_t
bucket_of(SmemTime at)
{
	return at / SMEM_RATE_BUCKET - (at % SMEM_RATE_BUCKET < 0);
}

static uint32_t *
place_of(SmemRate *rate, int64_t bucket)
{
	return &rate->buckets[(uint64_t) bucket % SMEM_RATE_BUCKETS];
}

static void
begin_anew(SmemRate *rate, int64_t bucket, uint32_t total)
{
	memset(rate->buckets, 0, sizeof(rate->buckets));
	rate->head = bucket;
	rate->total = total;
	*place_of(rate, bucket) = total;
}

/* Moves the head to the time, and clears what gets old by that. */
static void
advance(SmemRate *rate, SmemTime now)
{
	int64_t bucket = bucket_of(now);

	if (rate->total == 0)
		rate->head = bucket;
	else if (bucket > rate->head + SMEM_RATE_SPAN)
		begin_anew(rate, bucket, 0);
	else if (bucket < rate->head - SMEM_RATE_SPAN)
		begin_anew(rate, bucket, rate->total);
	while (rate->head < bucket)
	{
		uint32_t *old = place_of(rate, rate->head - SMEM_RATE_SPAN);

		rate->total -= *old;
		*old = 0;
		rate->head++;
	}
}

/* The place for events of that time; NULL where they are too old to be counted. */
static uint32_t *
find_place(SmemRate *rate, SmemTime at)
{
	int64_t bucket = bucket_of(at);

	if (bucket > rate->head)
		bucket = rate->head;
	return bucket < rate->head - SMEM_RATE_SPAN ? NULL : place_of(rate, bucket);
}

void
smem_rate_init(SmemRate *rate)
{
	memset(rate, 0, sizeof(*rate));
}

uint32_t
smem_rate_count(SmemRate *rate, SmemTime now)
{
	advance(rate, now);
	return rate->total;
}

void
smem_rate_add(SmemRate *rate, SmemTime at, SmemTime now, uint32_t n)
{
	uint32_t *place;

	advance(rate, now);
	place = find_place(rate, at);
	if (place == NULL)
		return;
	if (n > UINT32_MAX - rate->total)
		n = UINT32_MAX - rate->total;
	*place += n;
	rate->total += n;
}

void
smem_rate_take_back(SmemRate *rate, SmemTime at, SmemTime now, uint32_t n)
{
	uint32_t *place;

	advance(rate, now);
	place = find_place(rate, at);
	if (place == NULL)
		return;
	if (n > *place)
		n = *place;
	*place -= n;
	rate->total -= n;
}

SmemTime
smem_rate_next(SmemRate *rate, SmemTime now, uint32_t n, uint32_t limit)
{
	uint32_t left;
	int64_t	 bucket;

	advance(rate, now);
	if (n > limit)
		return SMEM_TIME_NEVER;
	left = rate->total;
	if (left <= limit - n)
		return now;
	for (bucket = rate->head - SMEM_RATE_SPAN; left > limit - n; bucket++)
		left -= *place_of(rate, bucket);
	return (bucket + SMEM_RATE_SPAN) * SMEM_RATE_BUCKET;
}

bool
smem_rate_idle(SmemRate *rate, SmemTime now)
{
	return smem_rate_count(rate, now) == 0;
}
