/* Splitting: which rows are condemned, how many requests it takes, in which order rows go. */
#include "core/split.h"
#include "tap.h"

#define ROWS 200

typedef struct Sink
{
	bool	 bad[ROWS];
	uint32_t limit; /* refuses more at once */
	uint32_t requests;
	uint32_t delivered[ROWS]; /* in the order of delivery */
	uint32_t count;
	uint32_t condemned;
} Sink;

static bool
ask(Sink *sink, uint32_t from, uint32_t n)
{
	sink->requests++;
	if (n > sink->limit)
		return false;
	for (uint32_t i = from; i < from + n; i++)
	{
		if (sink->bad[i])
			return false;
	}
	for (uint32_t i = from; i < from + n; i++)
		sink->delivered[sink->count++] = i;
	return true;
}

/* Sends the batch of rows from..n; returns the first row that left it unasked. */
static uint32_t
send_batch(Sink *sink, uint32_t from, uint32_t n)
{
	SmemSplit split;

	smem_split_begin(&split, n - from);
	for (;;)
	{
		if (ask(sink, from, split.tried))
		{
			from += split.tried;
			if (!smem_split_passed(&split))
				return from;
		}
		else if (split.tried == 1)
		{
			sink->condemned++;
			return from + 1;
		}
		else
			smem_split_failed(&split);
	}
}

static void
send_all(Sink *sink, uint32_t n)
{
	for (uint32_t from = 0; from < n;)
		from = send_batch(sink, from, n);
}

static uint32_t
log2_up(uint32_t n)
{
	uint32_t bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static bool
in_order(const Sink *sink)
{
	for (uint32_t i = 1; i < sink->count; i++)
	{
		if (sink->delivered[i] <= sink->delivered[i - 1])
			return false;
	}
	return true;
}

static void
check_one_bad(uint32_t n)
{
	uint32_t most = 0;
	bool	 right = true;
	bool	 ordered = true;

	for (uint32_t bad = 0; bad < n; bad++)
	{
		Sink sink = {.limit = ROWS};

		sink.bad[bad] = true;
		send_all(&sink, n);
		right = right && sink.count == n - 1 && sink.condemned == 1;
		ordered = ordered && in_order(&sink);
		if (sink.requests > most)
			most = sink.requests;
	}
	tap_ok(right, "of %u rows the bad one is found, wherever it stands, and no other", n);
	tap_ok(ordered, "the rows of %u go in their order", n);
	/* The first request, the search, its confirmation, and what left the batch. */
	tap_ok(most <= 1 + log2_up(n) + 2, "%u rows need at most log2 n and two requests more (%u)", n,
		   most);
}

static void
check_many_bad(void)
{
	Sink all = {.limit = ROWS};
	Sink none = {.limit = 7};

	memset(all.bad, 1, sizeof(all.bad));
	send_all(&all, 20);
	tap_ok(all.condemned == 20 && all.count == 0, "twenty bad rows are found");
	send_all(&none, 100);
	tap_ok(none.condemned == 0 && none.count == 100 && in_order(&none),
		   "a sink that takes only seven at once condemns none");
}

int
main(void)
{
	check_one_bad(1);
	check_one_bad(2);
	check_one_bad(3);
	check_one_bad(64);
	check_one_bad(100);
	check_one_bad(200);
	check_many_bad();
	return tap_done();
}
