/*
 * The reading half of a shipper: looks for what became visible, reads the
 * main stream, and hands rows to the courier while the window has room.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "core/owner.h"
#include "outbox/park.h"
#include "outbox/restore.h"
#include "pg/flush.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "policy/seed.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/launcher.h"

/* With this much unsent the socket is the bottleneck, and reading on would only cost memory. */
#define OUT_HIGH_WATER (4 * 1024 * 1024)

/* Pace: below so many rows a second each is looked at by itself; above, 10 us of waiting for each of them. */
#define PACE_SINGLE 600.0
#define PACE_LINGER_MAX_US ((int64) 100000)
#define PACE_MEMORY_US ((int64) 200000)

#define HEARTBEAT_US ((int64_t) 1000000)

bool
smem_feed_socket_full(SmemShipper *sh)
{
	return smem_buf_len(&sh->link.out) >= OUT_HIGH_WATER;
}

void
smem_feed_send(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
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
	if (entry->head)
		row->row.flags |= SMEM_ROW_REOPEN;
	row->row.attempts = (uint32_t) entry->attempts;
	entry->owner = smem_owner(row->row.tenant, row->row.session);
	smem_frame_row(&sh->link.out, &row->row);
	entry->sent = true;
	entry->sent_at = sh->now;
}

static bool
is_behind(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
{
	int64_t *leading;
	int		 n;

	if (smem_window_blocks(&sh->window, false, row->tenant, row->session, entry))
		return true;
	if (sh->parked == 0)
		return false;
	n = smem_window_leading(&sh->window, row->tenant, row->session, &leading);
	return smem_park_blocks(sh->sink, row->tenant, row->session, leading, n);
}

/* Decides for itself what need not go to the courier. */
static bool
settle_here(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
{
	SmemOutcome out = {.id = entry->id};

	if (smem_exact_is_ahead(sh, entry->id))
		out.kind = SMEM_OUTCOME_LOGGED;
	else if (row->deliver_after > sh->now)
		out.kind = SMEM_OUTCOME_DELAYED;
	else if (is_behind(sh, entry, row))
		out.kind = SMEM_OUTCOME_BEHIND;
	else
		return false;
	smem_window_settle(&sh->window, entry, &out);
	entry->at = out.kind == SMEM_OUTCOME_DELAYED ? row->deliver_after : sh->now;
	if (out.kind == SMEM_OUTCOME_DELAYED)
		smem_tally_delayed(sh, entry);
	return true;
}

void
smem_feed_offer(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row)
{
	if (!settle_here(sh, entry, row))
		smem_feed_send(sh, entry, row);
}

void
smem_feed_row(SmemShipper *sh, SmemStream *st, SmemOutboxRow *row)
{
	SmemOpenStep *open = smem_stream_newest(st);
	SmemEntry	 *entry = smem_window_add(&sh->window, row->row.id, st->list, row->tenant,
										  row->session, (int) row->row.payload.len);

	if (entry == NULL)
		return;
	entry->step = open->number;
	entry->commit_at = Max(row->created_at, open->from_time);
	open->rows++;
	smem_feed_offer(sh, entry, row);
}

void
smem_feed_retire(SmemShipper *sh)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);

	for (int i = 0; i <= SMEM_DETOURS; i++)
		smem_stream_retire(&sh->stream[i]);
	MemoryContextSwitchTo(outer);
}

/*
 * Whether nothing was ever written.  Meanwhile a restore may bring rows and
 * positions of another server, whose transaction ids mean nothing here; when it
 * is over, this process begins anew.
 */
static bool
is_blank(SmemShipper *sh)
{
	SmemPosition position;

	if (!sh->blank)
		return false;
	if (smem_restore_runs())
		return true;
	sh->blank = false;
	sh->park_changed = true;
	if (smem_position_load(sh->sink, &position))
		sh->exists = false;
	return !sh->exists;
}

/* Opens the main stream's next step.  Of what an earlier process had not settled the commit time is lost. */
static void
open_step(SmemShipper *sh, SmemMoment *to, int64_t after_id)
{
	SmemStream *main = smem_main_stream(sh);
	TimestampTz from_time =
		main->last_time == 0 ? 0 : Max(main->last_time, (TimestampTz) sh->seen_since);

	smem_stream_open_step(main, sh->sink, to, after_id, from_time);
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
	news = !smem_moment_equal(&moment, &smem_main_stream(sh)->last);
	if (news)
	{
		sh->gate = smem_gate_open();
		open_step(sh, &moment, 0);
	}
	else
		smem_moment_free(&moment);
	smem_main_stream(sh)->last_time = time;
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

static bool
take_row(SmemOutboxRow *row, void *arg)
{
	SmemShipper *sh = arg;

	if (!smem_tenants_passed(sh, row))
		smem_feed_row(sh, smem_main_stream(sh), row);
	return sh->window.bytes < SMEM_WINDOW_BYTES && !smem_feed_socket_full(sh);
}

/* Reads on in the newest step; returns how many rows came into the window. */
static int
read_step(SmemShipper *sh)
{
	SmemOpenStep *open = smem_stream_newest(smem_main_stream(sh));
	SmemFilter	  filter;
	int			  rows = open->rows;

	smem_tenants_filter(sh, &filter);
	smem_step_read(&open->step, sh->sink, &filter, smem_tenants_main_room(sh), take_row, sh);
	return open->rows - rows;
}

static bool
wants_look(SmemShipper *sh)
{
	if (smem_main_stream(sh)->nsteps == SMEM_STEPS || sh->now < sh->last_look + sh->linger_us)
		return false;
	return pg_atomic_read_u32(&sh->slot->woken) != 0 || sh->now >= sh->last_look + HEARTBEAT_US;
}

/* What was looked for last must not be undone by a failover any more, either. */
static bool
gate_is_open(SmemShipper *sh)
{
	if (sh->gate != InvalidXLogRecPtr && smem_gate_is_passed(sh->gate))
		sh->gate = InvalidXLogRecPtr;
	return sh->gate == InvalidXLogRecPtr;
}

static void
read_main(SmemShipper *sh)
{
	bool fresh = !smem_stream_unread(smem_main_stream(sh));
	int	 rows = 0;

	if (!fresh || (look(sh) && gate_is_open(sh)))
		rows = read_step(sh);
	if (fresh)
		set_pace(sh, rows);
}

static bool
main_wants_read(SmemShipper *sh)
{
	if (smem_tenants_main_room(sh) == 0)
		smem_tenants_make_room(sh);
	return smem_tenants_main_room(sh) > 0 &&
		   (smem_stream_unread(smem_main_stream(sh)) || wants_look(sh));
}

static void
feed_more(SmemShipper *sh)
{
	bool		due = smem_due_now(sh);
	bool		room = !smem_feed_socket_full(sh) && gate_is_open(sh);
	bool		main = room && main_wants_read(sh);
	TimestampTz again;
	bool		detours = room && smem_tenants_have_work(sh, &again);
	bool		news = room && smem_news_due(sh);

	if (!due && !main && !detours && !news && !sh->park_changed && !sh->levers)
		return;
	if (!smem_begin("reading the outbox"))
	{
		sh->exists = false;
		return;
	}
	if (sh->levers)
		smem_control_read(sh);
	if (due)
		smem_due_feed(sh);
	if (news)
		smem_news_feed(sh);
	if (sh->park_changed)
		smem_due_refresh(sh);
	if (main)
		read_main(sh);
	/* They go on to where the main stream has just looked, which the standbys may not have. */
	if (detours && gate_is_open(sh))
		smem_tenants_read(sh);
	smem_commit();
	smem_feed_retire(sh);
}

bool
smem_feed_has_work(SmemShipper *sh)
{
	TimestampTz again;

	if (sh->levers)
		return true;
	if (sh->unsent || smem_feed_socket_full(sh) || sh->gate != InvalidXLogRecPtr)
		return false;
	return smem_news_due(sh) ||
		   (smem_stream_unread(smem_main_stream(sh)) && smem_tenants_main_room(sh) > 0) ||
		   smem_tenants_have_work(sh, &again);
}

void
smem_feed_start(SmemShipper *sh)
{
	MemoryContext outer;
	SmemPosition  position;
	uint64		  committed = pg_atomic_read_u64(&sh->db->committed);

	if (!smem_begin("reading the position"))
	{
		sh->exists = false;
		return;
	}
	outer = MemoryContextSwitchTo(sh->context);
	sh->blank = !smem_position_load(sh->sink, &position) ||
				(smem_moment_is_zero(&position.from) && smem_restore_runs());
	if (position.restored && !sh->blank)
		ereport(
			LOG,
			(errmsg(
				"outbox was restored from another server: sink \"%s\" gets what it had not acknowledged there",
				smem_sink_name(sh->sink))));
	sh->page = position.kafka_page;
	smem_exact_start(sh);
	smem_stream_begin(smem_main_stream(sh), &position);
	smem_tenants_start(sh);
	sh->gate = smem_gate_open();
	if (position.in_step)
		open_step(sh, &position.to, position.after_id);
	MemoryContextSwitchTo(outer);
	sh->recorded_high = (uint64_t) smem_last_id();
	pg_atomic_write_u64(&sh->slot->recorded_high, sh->recorded_high);
	smem_control_read(sh);
	smem_due_refresh(sh);
	smem_tally_start(sh, &position, committed);
	/* Also where nobody writes: the tenant may write in another database.  A worker waits for nobody. */
	if (smem_sink_is_first(sh->sink))
		smem_quota_seed(false);
	smem_commit();
}

void
smem_feed(SmemShipper *sh)
{
	if (sh->link.fd >= 0 && !sh->ready)
		return;
	if (sh->unsent && sh->link.fd >= 0 && !smem_feed_socket_full(sh))
		smem_resend(sh);
	if (!sh->unsent)
		feed_more(sh);
}
