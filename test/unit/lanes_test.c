/* Lanes: order in a session, fairness, closed lanes, held tenants. */
#include <stdlib.h>

#include "core/lanes.h"
#include "tap.h"

typedef struct Bed
{
	SmemLanes *lanes;
	SmemTime   now;
	SmemItem  *items[64];
	uint32_t   n;
	char	   dropped[1000];
} Bed;

static void
on_drop(void *arg, const SmemItem *item, SmemOutcomeKind kind, uint32_t delay_ms)
{
	Bed	  *bed = arg;
	size_t at = strlen(bed->dropped);

	snprintf(bed->dropped + at, sizeof(bed->dropped) - at, "%lld%c%u ", (long long) item->row.id,
			 kind == SMEM_OUTCOME_HELD ? 'h' : 'b', delay_ms);
}

static void
begin(Bed *bed)
{
	memset(bed, 0, sizeof(*bed));
	bed->lanes = smem_lanes_new(on_drop, bed);
}

static void
end(Bed *bed)
{
	smem_lanes_free(bed->lanes);
}

typedef struct Push
{
	int64_t		id;
	const char *tenant;
	const char *session;
	const char *namespace;
	uint32_t attempts;
	uint8_t	 flags;
} Push;

static void
push_row(Bed *bed, Push p)
{
	SmemRow row = {
		.id = p.id,
		.flags = p.flags,
		.attempts = p.attempts,
		.tenant = smem_str(p.tenant),
		.session = smem_str(p.session),
		.namespace = smem_str(p.namespace ? p.namespace : "wm"),
		.key = smem_str("0123456789"),
	};

	if (!smem_lanes_push(bed->lanes, &row, bed->now))
		abort();
}

#define PUSH(bed, ...) push_row(bed, (Push){__VA_ARGS__})

/* Takes a batch and writes the ids of its rows. */
static const char *
take_some(Bed *bed, uint32_t items, size_t bytes)
{
	static char text[400];
	SmemTake	take = {items, bytes};

	text[0] = '\0';
	bed->n = smem_lanes_take(bed->lanes, &take, bed->now, bed->items);
	for (uint32_t i = 0; i < bed->n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%lld ",
				 (long long) bed->items[i]->row.id);
	return text;
}

static const char *
take(Bed *bed)
{
	return take_some(bed, 64, 100000);
}

static void
settle(Bed *bed)
{
	for (uint32_t i = 0; i < bed->n; i++)
		smem_lanes_settle(bed->lanes, bed->items[i], bed->now);
}

static const char *
drops(Bed *bed)
{
	static char text[1000];

	strcpy(text, bed->dropped);
	bed->dropped[0] = '\0';
	return text;
}

static void
check_order(void)
{
	Bed		  bed;
	SmemItem *first;
	SmemItem *other;

	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	PUSH(&bed, 2, "t", "b");
	PUSH(&bed, 3, "t", "a");
	tap_is(take_some(&bed, 1, 100000), "1 ", "the oldest row goes first");
	PUSH(&bed, 4, "t", "a");
	first = bed.items[0];
	tap_is(take(&bed), "2 ", "while a session's row is out, no other of it goes");
	other = bed.items[0];
	tap_is(take(&bed), "", "none");
	smem_lanes_put_back(bed.lanes, &first, 1, 0);
	tap_is(take(&bed), "1 3 4 ", "a row that comes back goes first again");
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, 0);
	tap_is(take(&bed), "1 3 4 ", "several keep their order");
	smem_lanes_put_back(bed.lanes, bed.items + 1, 2, 0);
	bed.n = 1;
	first = bed.items[0];
	tap_is(take(&bed), "", "a part that came back waits for the rest");
	smem_lanes_settle(bed.lanes, first, 0);
	tap_is(take(&bed), "3 4 ", "and goes then");
	settle(&bed);
	tap_is_int(smem_lanes_count(bed.lanes), 1, "one row is still out");
	smem_lanes_settle(bed.lanes, other, 0);
	end(&bed);
}

static void
check_limits(void)
{
	Bed bed;

	begin(&bed);
	for (int i = 1; i <= 6; i++)
		PUSH(&bed, i, "t", i % 2 ? "odd" : "even");
	tap_is(take_some(&bed, 4, 100000), "1 3 5 2 ", "a batch has its number of rows");
	settle(&bed);
	tap_is(take(&bed), "4 6 ", "the rest follows");
	settle(&bed);
	PUSH(&bed, 7, "t", "a");
	PUSH(&bed, 8, "t", "a");
	PUSH(&bed, 9, "t", "b");
	tap_is(take_some(&bed, 10, 1), "7 ", "a row larger than a batch goes alone");
	settle(&bed);
	tap_is(take_some(&bed, 10, 32), "9 8 ", "bytes are counted");
	settle(&bed);
	PUSH(&bed, 10, "t", "a");
	PUSH(&bed, 11, "t", "b", .attempts = 1);
	PUSH(&bed, 12, "t", "b");
	tap_is(take(&bed), "10 ", "a row that failed before is not mixed with others");
	settle(&bed);
	tap_is(take(&bed), "11 ", "it goes alone");
	settle(&bed);
	tap_is(take(&bed), "12 ", "what is behind it after it");
	settle(&bed);
	tap_ok(smem_lanes_count(bed.lanes) == 0 && smem_lanes_bytes(bed.lanes) == 0, "nothing is left");
	end(&bed);
}

static void
check_turns(void)
{
	Bed		  bed;
	SmemItem *first;

	begin(&bed);
	for (int i = 0; i < 3; i++)
	{
		char session[16];

		snprintf(session, sizeof(session), "s%d", i);
		PUSH(&bed, 1 + i, "big", session);
		PUSH(&bed, 4 + i, "big", session, .namespace = "other");
	}
	PUSH(&bed, 7, "small", "s");
	tap_is(take_some(&bed, 1, 1000), "1 ", "a flooding tenant begins");
	first = bed.items[0];
	tap_is(take_some(&bed, 1, 1000), "7 ", "then it is another's turn");
	settle(&bed);
	tap_is(take(&bed), "2 3 ", "a batch has one namespace");
	settle(&bed);
	tap_is(take(&bed), "5 6 ", "the next one follows in its session's order");
	settle(&bed);
	smem_lanes_settle(bed.lanes, first, 0);
	end(&bed);
}

static void
check_closed(void)
{
	Bed bed;

	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	PUSH(&bed, 2, "t", "a");
	PUSH(&bed, 3, "t", "a");
	PUSH(&bed, 4, "t", "b");
	take_some(&bed, 2, 100000);
	smem_lanes_put_back(bed.lanes, bed.items + 1, 1, 0);
	smem_lanes_close(bed.lanes, bed.items[0], 0);
	tap_is(drops(&bed), "2b0 3b0 ", "what waits behind a failed row leaves");
	PUSH(&bed, 5, "t", "a");
	tap_is(drops(&bed), "5b0 ", "and what comes later");
	tap_is(take(&bed), "4 ", "other sessions go on");
	settle(&bed);
	PUSH(&bed, 1, "t", "a", .flags = SMEM_ROW_REOPEN);
	PUSH(&bed, 2, "t", "a");
	tap_is(take(&bed), "1 2 ", "until the session is opened again");
	smem_lanes_close(bed.lanes, bed.items[0], 0);
	smem_lanes_put_back(bed.lanes, bed.items + 1, 1, 0);
	tap_is(drops(&bed), "2b0 ", "a row that comes back to a closed lane leaves");
	tap_is_int(smem_lanes_count(bed.lanes), 0, "nothing is left");
	end(&bed);
}

static void
check_hold(void)
{
	Bed		  bed;
	SmemItem *busy;

	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	take(&bed);
	busy = bed.items[0];
	PUSH(&bed, 2, "t", "a");
	PUSH(&bed, 3, "t", "b");
	PUSH(&bed, 4, "t", "b");
	PUSH(&bed, 5, "u", "a");
	tap_is_int(smem_lanes_throttled(bed.lanes, busy, bed.now), 1, "the first throttle");
	tap_is_int(smem_lanes_throttled(bed.lanes, busy, bed.now), 2, "is counted");
	smem_lanes_hold(bed.lanes, busy, 5 * SMEM_SEC, 0);
	tap_is(drops(&bed), "3h5000 4b0 ", "a long hold hands the tenant's waiting rows back");
	tap_is(take(&bed), "5 ", "other tenants go on");
	settle(&bed);
	bed.now = SMEM_SEC;
	smem_lanes_put_back(bed.lanes, &busy, 1, bed.now);
	tap_is(drops(&bed), "1h4000 2b0 ", "a busy session follows in its order");
	PUSH(&bed, 6, "t", "c");
	tap_is(drops(&bed), "6h4000 ", "so do new sessions");
	PUSH(&bed, 1, "t", "a", .flags = SMEM_ROW_REOPEN);
	tap_is(drops(&bed), "1h4000 ", "and reopened ones");
	bed.now = 5 * SMEM_SEC;
	PUSH(&bed, 1, "t", "a", .flags = SMEM_ROW_REOPEN);
	tap_is(take(&bed), "1 ", "until the hold is over");
	smem_lanes_passed(bed.lanes, bed.items[0]);
	settle(&bed);
	end(&bed);
}

static void
check_short_hold(void)
{
	Bed bed;

	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	PUSH(&bed, 2, "t", "b");
	take_some(&bed, 1, 1000);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	smem_lanes_hold(bed.lanes, bed.items[0], SMEM_SEC, 0);
	smem_lanes_put_back(bed.lanes, bed.items, 1, 0);
	tap_is(drops(&bed), "", "a short hold keeps the rows");
	tap_is(take(&bed), "", "they wait");
	tap_is_int(smem_lanes_next(bed.lanes, 0), SMEM_SEC, "it is known until when");
	bed.now = SMEM_SEC;
	tap_is(take(&bed), "2 1 ", "and go then");
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, bed.now);
	smem_lanes_set_patient(bed.lanes, true);
	take_some(&bed, 1, 1000);
	smem_lanes_hold(bed.lanes, bed.items[0], 60 * SMEM_SEC, bed.now);
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, bed.now);
	tap_is(drops(&bed), "", "patience keeps them however long");
	smem_lanes_wake(bed.lanes);
	tap_is_int((long long) strlen(take(&bed)), 4, "waking ends the hold");
	settle(&bed);
	tap_ok(smem_lanes_next(bed.lanes, bed.now) == SMEM_TIME_NEVER, "nothing is left");
	end(&bed);
}

/* Each hold is short, but they do not end; what passes in between changes nothing. */
static void
check_many_short_holds(void)
{
	Bed bed;

	begin(&bed);
	bed.now = SMEM_SEC;
	PUSH(&bed, 1, "t", "a");
	PUSH(&bed, 2, "t", "a");
	PUSH(&bed, 3, "t", "a");
	take(&bed);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	smem_lanes_hold(bed.lanes, bed.items[0], bed.now + SMEM_SEC / 2, bed.now);
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, bed.now);
	tap_is(drops(&bed), "", "the first short hold keeps the rows");
	bed.now += SMEM_SEC / 2;
	take_some(&bed, 1, 1000);
	smem_lanes_passed(bed.lanes, bed.items[0]);
	settle(&bed);
	bed.now += SMEM_SEC / 2;
	take_some(&bed, 1, 1000);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	smem_lanes_hold(bed.lanes, bed.items[0], bed.now + SMEM_SEC / 2, bed.now);
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, bed.now);
	tap_is(drops(&bed), "2h500 3b0 ", "one that comes after a while hands them back");
	bed.now += SMEM_SEC / 2;
	PUSH(&bed, 2, "t", "a", .flags = SMEM_ROW_REOPEN);
	tap_is(take(&bed), "2 ", "until it is over");
	settle(&bed);
	bed.now += SMEM_LANES_CALM + SMEM_SEC;
	PUSH(&bed, 4, "t", "b");
	take(&bed);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	smem_lanes_hold(bed.lanes, bed.items[0], bed.now + SMEM_SEC / 2, bed.now);
	smem_lanes_put_back(bed.lanes, bed.items, bed.n, bed.now);
	tap_is(drops(&bed), "", "after a calm the next one keeps them again");
	end(&bed);
}

static void
check_all_throttled(void)
{
	Bed		  bed;
	SmemItem *t;
	SmemItem *u;

	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	PUSH(&bed, 2, "u", "a");
	take(&bed);
	t = bed.items[0];
	take(&bed);
	u = bed.items[0];
	smem_lanes_throttled(bed.lanes, t, bed.now);
	tap_ok(!smem_lanes_all_throttled(bed.lanes), "one of two tenants is not all");
	smem_lanes_throttled(bed.lanes, u, bed.now);
	tap_ok(smem_lanes_all_throttled(bed.lanes), "two of two are");
	PUSH(&bed, 3, "v", "a");
	tap_ok(!smem_lanes_all_throttled(bed.lanes), "a third one may pass");
	take(&bed);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	smem_lanes_passed(bed.lanes, u);
	tap_ok(!smem_lanes_all_throttled(bed.lanes), "one that passed may too");
	settle(&bed);
	smem_lanes_settle(bed.lanes, t, 0);
	smem_lanes_settle(bed.lanes, u, 0);
	end(&bed);
	begin(&bed);
	PUSH(&bed, 1, "t", "a");
	take(&bed);
	smem_lanes_throttled(bed.lanes, bed.items[0], bed.now);
	tap_ok(!smem_lanes_all_throttled(bed.lanes), "one tenant alone is that tenant's trouble");
	settle(&bed);
	end(&bed);
}

/* Many sessions and tenants, rows that come back, fail and pass at random, with a fixed seed. */
static void
check_at_random(void)
{
	Bed		bed;
	int64_t last[10] = {0};
	int64_t next_id = 1;
	bool	ordered = true;
	int		left = 0;
	int		dropped = 0;

	begin(&bed);
	srand(7);
	while (next_id < 20000)
	{
		char tenant[16];
		char session[16];
		int	 s = rand() % 10;

		snprintf(tenant, sizeof(tenant), "t%d", s % 3);
		snprintf(session, sizeof(session), "s%d", s);
		PUSH(&bed, next_id++, tenant, session, .namespace = rand() % 4 ? "wm" : "other",
			 .flags = rand() % 8 ? 0 : SMEM_ROW_REOPEN);
		left++;
		if (rand() % 3 == 0)
		{
			take_some(&bed, 1 + (uint32_t) rand() % 20, 300);
			if (rand() % 4 == 0)
			{
				smem_lanes_put_back(bed.lanes, bed.items, bed.n, 0);
				bed.n = 0;
			}
			for (uint32_t i = 0; i < bed.n; i++)
			{
				const SmemRow *row = &bed.items[i]->row;
				int			   of = row->session.data[1] - '0';

				ordered = ordered && row->id > last[of];
				last[of] = row->id;
				left--;
				if (i + 1 == bed.n && rand() % 20 == 0)
					smem_lanes_close(bed.lanes, bed.items[i], 0);
				else
					smem_lanes_settle(bed.lanes, bed.items[i], 0);
			}
		}
		for (const char *p = bed.dropped; *p; p++)
			dropped += *p == ' ';
		bed.dropped[0] = '\0';
	}
	tap_ok(ordered, "no row ever overtakes one of its session");
	tap_is_int(smem_lanes_count(bed.lanes), left - dropped, "every row is accounted for");
	end(&bed);
}

int
main(void)
{
	check_order();
	check_limits();
	check_turns();
	check_closed();
	check_hold();
	check_short_hold();
	check_many_short_holds();
	check_all_throttled();
	check_at_random();
	return tap_done();
}
