/*
 * The reading half of a shipper: looks for what became visible, and hands
 * rows to the courier while the window has room.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "common/pg_prng.h"
#include "core/retry.h"
#include "outbox/park.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* With this much unsent the socket is the bottleneck, and reading on would only cost memory. */
#define OUT_HIGH_WATER (4 * 1024 * 1024)

/* Room above the window for rows from the parking place, so that a full stream cannot lock them out. */
#define RETRY_ROOM 256
#define RETRY_BYTES (4 * 1024 * 1024)
#define RETRY_SESSIONS 32

/* Pace: below so many rows a second each is looked at by itself; above, 10 us of waiting for each of them. */
#define PACE_SINGLE 600.0
#define PACE_LINGER_MAX_US ((int64) 100000)
#define PACE_MEMORY_US ((int64) 200000)

#define HEARTBEAT_US ((int64_t) 1000000)

/* How many rows a starting shipper counts one by one before it trusts the difference of ids. */
#define COUNT_LIMIT "100000"

typedef struct FeedState
{
	SmemShipper	 *sh;
	SmemOpenStep *open; /* NULL for rows from the parking place and for resending */
	SmemDue		 *due;
	int			  ndue;
	int64_t		  last_id; /* of the due rows, the last one that was looked at */
} FeedState;

static SmemOpenStep *
step_at(SmemShipper *sh, int i)
{
	return &sh->steps[(sh->first_step + i) % SMEM_STEPS];
}

static void
send_row(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
{
	static const SmemStr class = {"not_utf8", 8};
	static const SmemStr reason = {"text is not valid UTF-8", 23};

	if (row->unsendable)
	{
		SmemOutcome out = {
			.id = entry->id, .kind = SMEM_OUTCOME_DEAD, .class = class, .reason = reason};

		smem_window_settle(&sh->window, entry, &out);
		entry->at = sh->now;
		return;
	}
	if (sh->link.fd < 0)
		return;
	row->row.flags = entry->head ? SMEM_ROW_REOPEN : 0;
	row->row.attempts = (uint32_t) entry->attempts;
	smem_frame_row(&sh->link.out, &row->row);
	entry->sent = true;
}

/* Decides for itself what need not go to the courier. */
static bool
settle_here(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
{
	SmemOutcome out = {.id = entry->id};

	if (row->deliver_after > sh->now)
		out.kind = SMEM_OUTCOME_DELAYED;
	else if (smem_window_blocks(&sh->window, false, row->tenant, row->session, entry) ||
			 (sh->parked > 0 && smem_park_blocks(sh->sink, row->tenant, row->session)))
		out.kind = SMEM_OUTCOME_BEHIND;
	else
		return false;
	smem_window_settle(&sh->window, entry, &out);
	entry->at = out.kind == SMEM_OUTCOME_DELAYED ? row->deliver_after : sh->now;
	return true;
}

static bool
feed_row(SmemOutboxRow *row, void *arg)
{
	FeedState	*state = arg;
	SmemShipper *sh = state->sh;
	SmemEntry	*entry = smem_window_add(&sh->window, row->row.id, false, row->tenant, row->session,
										 (int) row->row.payload.len);

	if (entry != NULL)
	{
		entry->step = state->open->number;
		entry->commit_at = Max(row->created_at, state->open->from_time);
		state->open->rows++;
		if (!settle_here(sh, entry, row))
			send_row(sh, entry, row);
	}
	return !smem_window_full(&sh->window) && smem_buf_len(&sh->link.out) < OUT_HIGH_WATER;
}

static void
drop_step(SmemShipper *sh)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	SmemOpenStep *open = step_at(sh, 0);

	smem_moment_free(&sh->from);
	smem_moment_copy(&sh->from, &open->step.to);
	smem_step_free(&open->step);
	sh->first_step = (sh->first_step + 1) % SMEM_STEPS;
	sh->nsteps--;
	sh->position_moved = true;
	MemoryContextSwitchTo(outer);
}

void
smem_feed_retire(SmemShipper *sh)
{
	while (sh->nsteps > 0 && step_at(sh, 0)->step.all_read && step_at(sh, 0)->rows == 0)
		drop_step(sh);
}

/* Opens the step from the last moment to this one; takes over the moment's lists. */
static void
open_step(SmemShipper *sh, SmemMoment *to, int64_t after_id)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	SmemOpenStep *open = step_at(sh, sh->nsteps);

	memset(open, 0, sizeof(*open));
	open->number = sh->next_number++;
	/* Of what an earlier process had not settled the commit time is lost: it was not before the write. */
	open->from_time = sh->last_time == 0 ? 0 : Max(sh->last_time, (TimestampTz) sh->seen_since);
	open->step.from = sh->last;
	open->step.to = *to;
	smem_moment_copy(&sh->last, to);
	sh->nsteps++;
	smem_step_begin(&open->step, sh->sink, after_id);
	MemoryContextSwitchTo(outer);
}

/*
 * Whether nothing was ever written.  Meanwhile a restore may bring rows and
 * positions of another server, whose transaction ids mean nothing here; it
 * sets the sequence last, and then this process begins anew.
 */
static bool
is_blank(SmemShipper *sh)
{
	SmemPosition position;

	if (!sh->blank)
		return false;
	if (smem_last_id() == 0)
		return true;
	sh->blank = false;
	if (smem_position_load(sh->sink, &position))
		sh->exists = false;
	return !sh->exists;
}

/* Takes a new moment; false when nothing can have been committed since the last. */
static bool
look(SmemShipper *sh)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	TimestampTz	  time;
	SmemMoment	  moment;
	bool		  news;

	/* Before the snapshot: a commit that it misses sets the flag anew, and wakes. */
	pg_atomic_exchange_u32(&sh->slot->woken, 0);
	sh->seen_since = pg_atomic_read_u64(&sh->slot->unseen_since);
	sh->last_look = sh->now;
	if (is_blank(sh))
	{
		MemoryContextSwitchTo(outer);
		return false;
	}
	time = GetCurrentTimestamp();
	smem_moment_take(&moment);
	news = !smem_moment_equal(&moment, &sh->last);
	if (news)
	{
		smem_ship_gate();
		open_step(sh, &moment, 0);
	}
	else
		smem_moment_free(&moment);
	sh->last_time = time;
	MemoryContextSwitchTo(outer);
	return news;
}

/*
 * How long to wait before the next look, by the rate at which rows came lately.
 *
 * A look costs the same whether it finds one row or a thousand, and so does a
 * request to a sink: where writers are many, fewer and larger pages leave them
 * the processor.  Single writes are looked at within a millisecond.
 */
static void
set_pace(SmemShipper *sh, int rows)
{
	int64  span_us = Max(sh->now - sh->paced_at, 1);
	double weight = (double) span_us / (double) (span_us + PACE_MEMORY_US);
	double rate = (double) rows * 1000000.0 / (double) span_us;

	sh->rate += (rate - sh->rate) * weight;
	sh->paced_at = sh->now;
	sh->linger_us =
		sh->rate < PACE_SINGLE ? 1000 : (int64) Min(sh->rate * 10.0, (double) PACE_LINGER_MAX_US);
}

/* Reads on in the newest step; returns how many rows came into the window. */
static int
read_step(SmemShipper *sh)
{
	SmemOpenStep *open = step_at(sh, sh->nsteps - 1);
	FeedState	  state = {.sh = sh, .open = open};
	int			  rows = open->rows;
	int			  room = SMEM_WINDOW_ROWS - sh->window.rows;

	if (room > 0)
		smem_step_read(&open->step, sh->sink, room, feed_row, &state);
	return open->rows - rows;
}

bool
smem_feed_wants_look(SmemShipper *sh)
{
	if (sh->nsteps == SMEM_STEPS || sh->now < sh->last_look + sh->linger_us)
		return false;
	return pg_atomic_read_u32(&sh->slot->woken) != 0 || sh->now >= sh->last_look + HEARTBEAT_US;
}

bool
smem_feed_unread(SmemShipper *sh)
{
	return sh->nsteps > 0 && !step_at(sh, sh->nsteps - 1)->step.all_read;
}

static bool
feed_due_row(SmemOutboxRow *row, void *arg)
{
	FeedState	*state = arg;
	SmemShipper *sh = state->sh;
	SmemEntry	*entry = smem_window_add(&sh->window, row->row.id, true, row->tenant, row->session,
										 (int) row->row.payload.len);

	state->last_id = row->row.id;
	if (entry == NULL)
		return true;
	for (int i = 0; i < state->ndue; i++)
	{
		if (state->due[i].id != entry->id)
			continue;
		entry->head = state->due[i].head;
		entry->attempts = state->due[i].attempts;
		entry->commit_at = state->due[i].commit_at;
	}
	send_row(sh, entry, row);
	return sh->window.bytes < SMEM_WINDOW_BYTES + RETRY_BYTES;
}

/* What did not fit had no attempt: gives the turns behind the last row back. */
static void
return_turns(SmemShipper *sh, FeedState *state)
{
	int64_t *ids = palloc(sizeof(int64_t) * (state->ndue + 1));
	int		 n = 0;

	for (int i = 0; i < state->ndue; i++)
	{
		if (state->due[i].head && state->due[i].id > state->last_id &&
			smem_window_find(&sh->window, state->due[i].id) == NULL)
			ids[n++] = state->due[i].id;
	}
	smem_park_return(sh->sink, ids, n);
}

/* A row that waits in the courier for its sink to come back is not due again, nor another attempt. */
static void
extend_leases(SmemShipper *sh, TimestampTz lease)
{
	int64_t	  *ids = palloc(sizeof(int64_t) * (SMEM_WINDOW_ROWS + RETRY_ROOM * 2));
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &sh->window.retries)
		ids[n++] = dlist_container(SmemEntry, node, iter.cur)->id;
	smem_park_extend(sh->sink, ids, n, lease);
}

/* Sends what is due from the parking place. */
static void
feed_due(SmemShipper *sh)
{
	FeedState	state = {.sh = sh};
	TimestampTz lease = sh->now + (int64_t) smem_guc_retry_max * 1000;
	int64_t	   *ids;
	int			n = 0;

	if (sh->delayed > 0)
	{
		int woken = smem_park_wake_delayed(sh->sink);

		sh->delayed -= woken;
		sh->parked += woken;
		pg_atomic_fetch_sub_u64(&sh->slot->done, woken);
	}
	extend_leases(sh, lease);
	state.ndue = smem_park_due(sh->sink, RETRY_SESSIONS, lease, &state.due);
	ids = palloc(sizeof(int64_t) * (state.ndue + 1));
	for (int i = 0; i < state.ndue && sh->window.rows + n < SMEM_WINDOW_ROWS + RETRY_ROOM; i++)
	{
		if (smem_window_find(&sh->window, state.due[i].id) == NULL)
			ids[n++] = state.due[i].id;
	}
	if (n > 0)
	{
		smem_rows_by_id(sh->sink, ids, n, feed_due_row, &state);
		return_turns(sh, &state);
	}
	sh->park_changed = true;
}

static bool
due_now(SmemShipper *sh)
{
	return sh->next_due != 0 && sh->next_due <= sh->now &&
		   sh->window.rows < SMEM_WINDOW_ROWS + RETRY_ROOM / 2 &&
		   sh->window.bytes < SMEM_WINDOW_BYTES + RETRY_BYTES / 2;
}

/* Reads again what the parking place waits for. */
static void
refresh_park(SmemShipper *sh)
{
	sh->next_due = smem_park_next(sh->sink);
	sh->parked_oldest = smem_park_oldest(sh->sink);
	sh->park_changed = false;
}

static void
feed_more(SmemShipper *sh)
{
	bool room = !smem_window_full(&sh->window) && smem_buf_len(&sh->link.out) < OUT_HIGH_WATER;
	bool due = due_now(sh);
	bool wants = room && (smem_feed_unread(sh) || smem_feed_wants_look(sh));

	if (!due && !wants && !sh->park_changed)
		return;
	if (!smem_begin("reading the outbox"))
	{
		sh->exists = false;
		return;
	}
	if (due)
		feed_due(sh);
	if (sh->park_changed)
		refresh_park(sh);
	if (wants)
	{
		if (smem_feed_unread(sh))
			read_step(sh);
		else
			set_pace(sh, look(sh) ? read_step(sh) : 0);
	}
	smem_commit();
	smem_feed_retire(sh);
}

/* What is not settled behind the position, for the backlog's figure; exact where that is cheap. */
static int64
count_pending(SmemPosition *position)
{
	static SmemQuery query = {
		"SELECT count(*) FROM (SELECT 1 FROM somamem.outbox WHERE id > $1 LIMIT " COUNT_LIMIT
		") AS few",
		1,
		{INT8OID}};
	int64 after = Max(position->from.high, position->after_id);
	Datum args[1] = {Int64GetDatum(after)};
	bool  isnull;
	int64 counted;

	smem_query(&query, args, NULL, 1);
	counted =
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return counted < strtol(COUNT_LIMIT, NULL, 10) ? counted : Max(counted, smem_last_id() - after);
}

void
smem_feed_start(SmemShipper *sh)
{
	MemoryContext outer;
	SmemPosition  position;
	int64		  dead;
	int64		  pending;

	if (!smem_begin("reading the position"))
	{
		sh->exists = false;
		return;
	}
	outer = MemoryContextSwitchTo(sh->context);
	sh->blank = !smem_position_load(sh->sink, &position);
	if (position.restored)
		ereport(
			LOG,
			(errmsg(
				"outbox was restored from another server: sink \"%s\" gets what it had not acknowledged there",
				smem_sink_name(sh->sink))));
	smem_moment_copy(&sh->last, &position.from);
	smem_moment_copy(&sh->from, &position.from);
	if (position.in_step)
	{
		smem_ship_gate();
		open_step(sh, &position.to, position.after_id);
	}
	MemoryContextSwitchTo(outer);
	sh->recorded_high = (uint64_t) smem_last_id();
	pg_atomic_write_u64(&sh->slot->recorded_high, sh->recorded_high);
	smem_park_count(sh->sink, &sh->parked, &sh->delayed, &dead);
	pending = count_pending(&position) + sh->parked;
	pg_atomic_write_u64(&sh->slot->done, pg_atomic_read_u64(&sh->db->committed) - (uint64) pending);
	pg_atomic_write_u32(&sh->slot->parked, (uint32) sh->parked);
	pg_atomic_write_u32(&sh->slot->dead, (uint32) dead);
	refresh_park(sh);
	smem_commit();
}

/* A row that its session's trouble caught up with meanwhile waits behind it. */
static bool
resend_row(SmemOutboxRow *row, void *arg)
{
	FeedState	*state = arg;
	SmemShipper *sh = state->sh;
	SmemEntry	*entry = smem_window_find(&sh->window, row->row.id);
	SmemOutcome	 behind = {.id = row->row.id, .kind = SMEM_OUTCOME_BEHIND};

	if (entry == NULL || entry->kind != 0 || entry->sent)
		return true;
	if (!entry->retry)
	{
		if (!settle_here(sh, entry, row))
			send_row(sh, entry, row);
	}
	else if (smem_window_blocks(&sh->window, true, row->tenant, row->session, entry))
		smem_window_settle(&sh->window, entry, &behind);
	else
		send_row(sh, entry, row);
	return smem_buf_len(&sh->link.out) < OUT_HIGH_WATER;
}

static int
collect_unsent(dlist_head *list, int64_t *ids, int n, int max)
{
	dlist_iter iter;

	dlist_foreach (iter, list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind == 0 && !entry->sent && n < max)
			ids[n++] = entry->id;
	}
	return n;
}

/*
 * Hands to a new courier what the window holds without an outcome, as much as
 * the socket's buffer takes.  Nothing new is read before the rest has gone,
 * too: it would overtake.
 */
static void
resend(SmemShipper *sh)
{
	FeedState  state = {.sh = sh};
	SmemEntry *one;
	int		   max = SMEM_WINDOW_ROWS + RETRY_ROOM * 2;
	int64_t	  *ids = palloc(sizeof(int64_t) * max);
	int		   n = 0;

	n = collect_unsent(&sh->window.retries, ids, n, max);
	n = collect_unsent(&sh->window.stream, ids, n, max);
	sh->unsent = n > 0;
	sh->alone = sh->alone && smem_window_suspects(&sh->window, 1);
	if (n == 0 || (sh->alone && smem_window_under_way(&sh->window, &one) > 0))
		return;
	if (sh->alone)
		n = 1;
	if (!smem_begin("reading rows again"))
	{
		sh->exists = false;
		return;
	}
	smem_rows_by_id(sh->sink, ids, n, resend_row, &state);
	smem_commit();
}

void
smem_feed(SmemShipper *sh)
{
	if (sh->unsent && sh->link.fd >= 0 && smem_buf_len(&sh->link.out) < OUT_HIGH_WATER)
		resend(sh);
	if (!sh->unsent)
		feed_more(sh);
}
