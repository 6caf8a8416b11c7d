/* The count of a minute: compared with a list of all times, through random schedules. */
#include <stdlib.h>

#include "core/rate.h"
#include "tap.h"

#define MOST 40000

typedef struct List
{
	SmemTime at[MOST];
	int		 n;
} List;

static SmemRate rate;
static List		list;
static uint64_t dice;

static uint64_t
roll(uint64_t sides)
{
	dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (dice >> 33) % sides;
}

/* How many are not older than that. */
static uint32_t
count_since(SmemTime since)
{
	uint32_t n = 0;

	for (int i = list.n - 1; i >= 0; i--)
		n += list.at[i] >= since;
	return n;
}

static void
remember(SmemTime at, uint32_t n)
{
	while (n-- > 0)
		list.at[list.n++] = at;
}

/* Forgets up to n of that time; returns how many there were. */
static uint32_t
forget(SmemTime at, uint32_t n)
{
	uint32_t gone = 0;

	for (int i = list.n - 1; i >= 0 && gone < n; i--)
	{
		if (list.at[i] != at)
			continue;
		list.at[i] = list.at[--list.n];
		gone++;
	}
	return gone;
}

/* Every event younger than a minute is counted, none that is 60 ms older. */
static bool
is_exact(SmemTime now)
{
	uint32_t n = smem_rate_count(&rate, now);

	return n >= count_since(now - SMEM_RATE_MINUTE) &&
		   n <= count_since(now - SMEM_RATE_MINUTE - SMEM_RATE_BUCKET + 1);
}

static SmemTime
next_step(void)
{
	switch (roll(12))
	{
		case 0:
			return 0;
		case 1:
			return (SmemTime) roll(70 * SMEM_SEC);
		case 2:
			return SMEM_RATE_BUCKET;
		case 3:
			return SMEM_RATE_MINUTE - SMEM_RATE_BUCKET + (SmemTime) roll(3);
		case 4:
			return SMEM_RATE_MINUTE - 1 + (SmemTime) roll(3);
		default:
			return (SmemTime) roll(300 * SMEM_MSEC);
	}
}

/* Events of now and of earlier, some of them taken back. */
static void
check_against_list(uint64_t seed, SmemTime start)
{
	SmemTime now = start;
	int		 wrong = 0;

	dice = seed;
	list.n = 0;
	smem_rate_init(&rate);
	for (int turn = 0; turn < 4000; turn++)
	{
		SmemTime at = roll(4) ? now : now - (SmemTime) roll(80 * SMEM_SEC);
		uint32_t n = (uint32_t) roll(4);

		if (list.n > 0 && roll(5) == 0)
		{
			at = list.at[roll((uint64_t) list.n)];
			if (now - at <= SMEM_RATE_MINUTE)
				smem_rate_take_back(&rate, at, now, forget(at, n));
		}
		else
		{
			smem_rate_add(&rate, at, now, n);
			remember(at, n);
		}
		wrong += !is_exact(now);
		now += next_step();
		wrong += !is_exact(now);
		wrong += smem_rate_idle(&rate, now) != (smem_rate_count(&rate, now) == 0);
	}
	tap_is_int(wrong, 0, "the count is that of a list of times");
}

/* In no 60 seconds, wherever they begin, are there more than the limit. */
static int
count_crowded(uint32_t limit)
{
	int wrong = 0;

	for (int i = (int) limit; i < list.n; i++)
		wrong += list.at[i] - list.at[i - (int) limit] <= SMEM_RATE_MINUTE;
	return wrong;
}

/*
 * Takes each place as soon as it is free, and looks that it is free no later
 * than promised: the n-th event before is then a minute and at most 60 ms old.
 */
static void
check_limit(uint64_t seed, uint32_t limit)
{
	SmemTime now = 0;
	int		 late = 0;
	int		 early = 0;

	dice = seed;
	list.n = 0;
	smem_rate_init(&rate);
	while (list.n < 3000)
	{
		uint32_t n = 1 + (uint32_t) roll(limit < 5 ? limit : 5);
		SmemTime next = smem_rate_next(&rate, now, n, limit);
		SmemTime bound = now;

		if (list.n + (int) n > (int) limit)
			bound = smem_time_max(now, list.at[list.n + (int) n - (int) limit - 1] +
										   SMEM_RATE_MINUTE + SMEM_RATE_BUCKET);
		late += next > bound;
		if (next > now)
			early += smem_rate_count(&rate, next - 1) + n <= limit;
		now = next;
		late += smem_rate_count(&rate, now) + n > limit;
		smem_rate_add(&rate, now, now, n);
		remember(now, n);
		if (roll(3) == 0)
			now += (SmemTime) roll(2 * SMEM_RATE_MINUTE / limit);
	}
	tap_is_int(count_crowded(limit), 0, "no minute has more than the limit");
	tap_is_int(late, 0, "a place is free as soon as next says, and at most 60 ms late");
	tap_is_int(early, 0, "next does not say it too late");
}

static void
check_edges(void)
{
	SmemTime at = 7 * SMEM_RATE_MINUTE + 59999;

	smem_rate_init(&rate);
	tap_ok(smem_rate_idle(&rate, at), "a new count is idle");
	tap_ok(smem_rate_next(&rate, at, 2, 1) == SMEM_TIME_NEVER, "more than the limit never fit");
	tap_is_int(smem_rate_next(&rate, at, 0, 0), at, "none always do");
	smem_rate_add(&rate, at, at, 3);
	tap_is_int(smem_rate_count(&rate, at + SMEM_RATE_MINUTE), 3, "a minute old still counts");
	tap_is_int(smem_rate_count(&rate, at + SMEM_RATE_MINUTE + 1), 0, "what is older does not");
	at -= 59999;
	smem_rate_add(&rate, at + 2 * SMEM_RATE_MINUTE, at + 2 * SMEM_RATE_MINUTE, 1);
	at += 2 * SMEM_RATE_MINUTE;
	tap_is_int(smem_rate_next(&rate, at, 1, 1), at + SMEM_RATE_MINUTE + SMEM_RATE_BUCKET,
			   "the first of a bucket waits for the last that it may hold");
	smem_rate_take_back(&rate, at, at + 5, 7);
	tap_ok(smem_rate_idle(&rate, at + 5), "not more is taken back than there is");
	smem_rate_take_back(&rate, at - 2 * SMEM_RATE_MINUTE, at + 5, 7);
	smem_rate_add(&rate, at - 2 * SMEM_RATE_MINUTE, at + 5, 7);
	tap_ok(smem_rate_idle(&rate, at + 5), "what is older than a minute adds nothing");
	smem_rate_add(&rate, at, at, UINT32_MAX);
	smem_rate_add(&rate, at + SMEM_SEC, at + SMEM_SEC, 9);
	tap_is_int(smem_rate_count(&rate, at + SMEM_SEC), UINT32_MAX, "the count does not wrap");
	tap_ok(smem_rate_next(&rate, at + SMEM_SEC, UINT32_MAX, UINT32_MAX) < SMEM_TIME_NEVER,
		   "nor does what next makes of it");
	tap_ok(smem_rate_idle(&rate, at + 3 * SMEM_RATE_MINUTE), "and all of it gets old");
	tap_ok(sizeof(SmemRate) <= 4200, "it takes 4 kB");
}

/* A long rest leaves nothing, whatever the buckets were. */
static void
check_rest(void)
{
	int wrong = 0;

	for (int k = 0; k < 3000; k += 7)
	{
		SmemTime later = (k + 1001) * SMEM_RATE_BUCKET;

		smem_rate_init(&rate);
		for (int i = 0; i < 1001; i++)
			smem_rate_add(&rate, i * SMEM_RATE_BUCKET, i * SMEM_RATE_BUCKET, 1);
		wrong += smem_rate_count(&rate, later) != (k >= 1000 ? 0 : (uint32_t) (1000 - k));
		smem_rate_add(&rate, later, later, 2);
		wrong += smem_rate_count(&rate, later + SMEM_RATE_MINUTE) != 2;
		wrong += !smem_rate_idle(&rate, later + SMEM_RATE_MINUTE + SMEM_RATE_BUCKET);
	}
	tap_is_int(wrong, 0, "a rest of any length leaves what it should");
}

/*
 * The list has true times here, the count those of a clock that is set back
 * now and then: places come free late, but never early.
 */
static void
check_clock_set_back(uint64_t seed)
{
	SmemTime now = 0;
	SmemTime error = 0;
	int		 early = 0;

	dice = seed;
	list.n = 0;
	smem_rate_init(&rate);
	for (int turn = 0; turn < 20000; turn++)
	{
		if (roll(50) == 0)
			error -= (SmemTime) roll(roll(2) ? 3 * SMEM_SEC : 7200 * SMEM_SEC);
		if (roll(2))
		{
			smem_rate_add(&rate, now + error, now + error, 1);
			remember(now, 1);
		}
		early += smem_rate_count(&rate, now + error) < count_since(now - SMEM_RATE_MINUTE);
		now += (SmemTime) roll(roll(9) ? 200 * SMEM_MSEC : 20 * SMEM_SEC);
	}
	tap_is_int(early, 0, "a clock that is set back frees nothing early");
	tap_ok(smem_rate_idle(&rate, now + error + 2 * SMEM_RATE_MINUTE + SMEM_RATE_BUCKET),
		   "and two minutes later all is free");
}

static void
check_one_step_back(void)
{
	SmemTime at = 3600 * SMEM_SEC;

	smem_rate_init(&rate);
	smem_rate_add(&rate, at, at, 5);
	tap_is_int(smem_rate_count(&rate, at - 30 * SMEM_SEC), 5, "half a minute back: all count");
	for (int i = 0; i < 2000; i++)
		(void) smem_rate_count(&rate, at - (i % 2) * SMEM_RATE_BUCKET);
	tap_is_int(smem_rate_count(&rate, at), 5, "two clocks a little apart age nothing");
	smem_rate_add(&rate, at - 30 * SMEM_SEC, at - 30 * SMEM_SEC, 2);
	tap_is_int(smem_rate_count(&rate, at + 30 * SMEM_SEC), 7, "what comes then counts a minute");
	tap_is_int(smem_rate_count(&rate, at + 30 * SMEM_SEC + SMEM_RATE_BUCKET), 5, "and no longer");
	at = 60 * SMEM_SEC;
	tap_is_int(smem_rate_count(&rate, at), 5, "an hour back: they count");
	smem_rate_add(&rate, at, at, 1);
	smem_rate_take_back(&rate, at, at, 1);
	tap_is_int(smem_rate_count(&rate, at), 5, "what comes then can be taken back");
	tap_is_int(smem_rate_next(&rate, at, 1, 5) > at, 1, "a place comes free by the new clock");
	tap_ok(smem_rate_idle(&rate, at + SMEM_RATE_MINUTE + SMEM_RATE_BUCKET),
		   "after a minute of the new clock");
	smem_rate_add(&rate, -1, -1, 1);
	tap_is_int(smem_rate_count(&rate, 0), 1, "time before 0 is time too");
	smem_rate_add(&rate, SMEM_SEC, 0, 1);
	tap_is_int(smem_rate_count(&rate, 0), 2, "a time ahead of the clock is now");
	tap_is_int(smem_rate_count(&rate, 2 * SMEM_SEC), 2, "later, too");
	tap_ok(smem_rate_idle(&rate, SMEM_RATE_MINUTE + SMEM_RATE_BUCKET), "and gets old from now on");
	smem_rate_init(&rate);
	smem_rate_add(&rate, 1 - SMEM_RATE_BUCKET, 1 - SMEM_RATE_BUCKET, 1);
	tap_ok(smem_rate_idle(&rate, SMEM_RATE_MINUTE), "as old as after 0");
}

int
main(void)
{
	check_edges();
	for (uint64_t seed = 1; seed <= 8; seed++)
		check_against_list(seed, seed % 2 ? 0 : -(SmemTime) seed * 1234567);
	check_limit(1, 1);
	check_limit(2, 10);
	check_limit(3, 1000);
	check_limit(4, 77);
	check_rest();
	for (uint64_t seed = 1; seed <= 3; seed++)
		check_clock_set_back(seed);
	check_one_step_back();
	return tap_done();
}
