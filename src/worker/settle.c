/*
 * The recording half of a shipper: takes outcomes from the courier and
 * writes them down, together with the position they allow.
 *
 * If we die between an outcome and its record, the rows are sent again with
 * the same keys.
 */
#include "postgres.h"

#include "worker/record.h"

#include "core/encode.h"
#include "core/owner.h"
#include "outbox/detour.h"
#include "outbox/news.h"
#include "pg/query.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Enough settled rows to be worth a record at once. */
#define RECORD_SOON 256

/* So long a row without an outcome may keep what was delivered behind it out of the log. */
#define EARLY_AFTER_US ((int64_t) 250000)

static void
take_state(SmemShipper *sh, SmemReader *rd)
{
	SmemSinkState state;

	smem_get_state(rd, &state);
	sh->in_flight = state.in_flight;
	sh->courier_paused = state.paused;
	pg_atomic_write_u32(&sh->slot->circuit, state.circuit);
	pg_atomic_write_u64(&sh->slot->retries, sh->retries_before + state.retries);
	smem_tally_state(sh, &state);
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (smem_str_present(state.last_error))
	{
		SmemStr text = smem_cut_text(state.last_error, SMEM_ERROR_LEN - 1);

		memcpy(sh->slot->last_error, text.data, text.len);
		sh->slot->last_error[text.len] = '\0';
	}
	else
		sh->slot->last_error[0] = '\0';
	LWLockRelease(smem_shared->lock);
}

static void
take_outcomes(SmemShipper *sh, SmemReader *rd)
{
	uint32 n = smem_get_u32(rd);

	for (uint32 i = 0; i < n && !rd->bad; i++)
	{
		SmemOutcome out;
		SmemEntry  *entry;

		smem_get_outcome(rd, &out);
		if (rd->bad)
			return;
		entry = smem_window_find(&sh->window, out.id);
		if (entry != NULL && out.kind >= SMEM_OUTCOME_DELIVERED && out.kind <= SMEM_OUTCOME_HELD)
			smem_window_settle(&sh->window, entry, &out);
	}
}

/* Takes every whole frame that has arrived. */
void
smem_settle_receive(SmemShipper *sh)
{
	uint8_t			type;
	SmemReader		rd;
	SmemFrameStatus status;

	while ((status = smem_frame_next(&sh->link.in, &type, &rd)) == SMEM_FRAME_READY)
	{
		sh->last_heard = sh->now;
		if (type == SMEM_FRAME_OUTCOMES)
			take_outcomes(sh, &rd);
		else if (type == SMEM_FRAME_STATE)
			take_state(sh, &rd);
		else if (type == SMEM_FRAME_COMMITTED)
			smem_exact_take_committed(sh, &rd);
		else if (type == SMEM_FRAME_PAGE)
			smem_exact_take_page(sh, &rd);
		if (rd.bad)
			break;
		smem_buf_consume(&sh->link.in, smem_frame_size(&sh->link.in));
	}
	if (status == SMEM_FRAME_REFUSED || (status == SMEM_FRAME_READY && rd.bad))
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
						errmsg("courier of sink \"%s\" sent a malformed frame",
							   smem_sink_name(sh->sink))));
	smem_buf_trim(&sh->link.in, 1024 * 1024);
}

/*
 * A detour can be recorded once the main stream's position passes its
 * beginning: before that, a restart begins without it.
 */
static bool
is_recordable(SmemShipper *sh, const SmemRecord *rec, int list)
{
	return list == SMEM_LIST_MAIN || sh->stream[list].before <= rec->settled[SMEM_LIST_MAIN];
}

/* Whether rows of the stream have waited long enough for one without an outcome. */
static bool
is_held_up(SmemShipper *sh, int list)
{
	TimestampTz since = sh->stream[list].blocked_since;

	return smem_window_is_blocked(&sh->window, list) && since != 0 &&
		   sh->now - since >= EARLY_AFTER_US;
}

static bool
is_slow(SmemShipper *sh, const SmemEntry *entry)
{
	return entry->sent && sh->now - entry->sent_at >= EARLY_AFTER_US;
}

static int
room_aside(SmemShipper *sh, const SmemRecord *rec)
{
	/* A Kafka transaction brings the outcomes of all that was sent before. */
	return sh->exact ? 0 : SMEM_WINDOW_ROWS - sh->window.stuck - rec->nstuck;
}

/* The settled beginning of a stream; where that is held up, what holds it up is set aside. */
static void
collect_stream(SmemShipper *sh, SmemRecord *rec, int list)
{
	dlist_iter iter;
	int		   n = 0;
	int		   delivered = sh->window.delivered_of[list];
	bool	   held_up = is_held_up(sh, list);

	if (!is_recordable(sh, rec, list))
		return;
	dlist_foreach (iter, &sh->window.list[list])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind != 0)
			rec->entries[rec->n++] = entry;
		else if (held_up && delivered > 0 && is_slow(sh, entry) && room_aside(sh, rec) > 0)
			smem_record_set_aside(sh, rec, entry);
		else
			break;
		delivered -= entry->kind == SMEM_OUTCOME_DELIVERED;
		n++;
	}
	rec->settled[list] = n;
}

static void
collect(SmemShipper *sh, SmemRecord *rec)
{
	dlist_iter iter;

	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		if (sh->window.rows_of[i] > 0)
			collect_stream(sh, rec, i);
	}
	dlist_foreach (iter, &sh->window.list[SMEM_LIST_RETRIES])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind != 0)
			rec->entries[rec->n++] = entry;
	}
}

/*
 * What is delivered and no position can pass yet is logged, and noted as being
 * ahead: where a page must be recorded as a whole, and where too much is set
 * aside already.
 */
static void
collect_early(SmemShipper *sh, SmemRecord *rec)
{
	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		dlist_iter iter;
		int		   n = rec->settled[i];

		dlist_foreach (iter, &sh->window.list[i])
		{
			SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

			if (n-- > 0 || entry->kind != SMEM_OUTCOME_DELIVERED)
				continue;
			smem_record_delivered(rec, entry);
			rec->early[rec->nearly++] = entry;
			rec->ahead[rec->nahead++] = entry->id;
		}
	}
}

/* What Kafka had when the courier began, and is in the window, is delivered; the rest is for write_had. */
static void
settle_had(SmemShipper *sh)
{
	int n = 0;

	for (int i = 0; i < sh->nhad; i++)
	{
		SmemEntry  *entry = smem_window_find(&sh->window, sh->had[i]);
		SmemOutcome out = {.id = sh->had[i], .kind = SMEM_OUTCOME_DELIVERED};

		if (entry == NULL)
			sh->had[n++] = sh->had[i];
		else if (entry->kind == 0)
		{
			smem_window_settle(&sh->window, entry, &out);
			entry->at = sh->now;
		}
	}
	sh->nhad = n;
}

/* Rows that Kafka had and that this process has not read: they leave the parking place, or are ahead. */
static void
write_had(SmemShipper *sh, SmemRecord *rec)
{
	int64_t *parked;
	int		 nparked;

	for (int i = 0; i < sh->nhad; i++)
	{
		if (sh->had[i] < 0)
			rec->told[rec->ntold++] = sh->had[i];
		else
			smem_record_log(rec, sh->had[i], SMEM_OWNER_UNKNOWN, sh->now, NULL);
	}
	nparked = smem_park_delivered(sh->sink, sh->had, sh->nhad, &parked);
	rec->done += nparked;
	rec->new_parked -= nparked;
	for (int i = 0; i < sh->nhad; i++)
	{
		bool was_parked = false;

		for (int p = 0; p < nparked && !was_parked; p++)
			was_parked = parked[p] == sh->had[i];
		if (sh->had[i] > 0 && !was_parked)
			rec->ahead[rec->nahead++] = sh->had[i];
	}
	sh->levers = true; /* the parking place is to be counted again */
}

static void
write_detour(SmemShipper *sh, SmemRecord *rec, SmemStream *st)
{
	SmemDetour detour = {.number = st->number, .tenant = st->tenant, .closed = st->closed};

	if (smem_tenants_is_over(sh, st))
	{
		if (st->recorded)
			smem_detour_forget(sh->sink, st->number);
		return;
	}
	if (!is_recordable(sh, rec, st->list))
		return;
	if (st->recorded && !st->moved && rec->settled[st->list] == 0)
		return;
	smem_stream_position(st, &sh->window, rec->settled[st->list], &detour.position);
	detour.until = st->until;
	smem_detour_record(sh->sink, &detour);
}

static void
write_record(SmemShipper *sh, SmemRecord *rec)
{
	SmemPosition position;

	smem_stream_position(smem_main_stream(sh), &sh->window, rec->settled[SMEM_LIST_MAIN],
						 &position);
	position.kafka_page = smem_exact_due(sh) ? sh->page_done : sh->page;
	if (sh->had_known)
		write_had(sh, rec);
	if (rec->page.rows > 0)
		appendStringInfoChar(&rec->receipts, ']');
	rec->page.receipts = rec->receipts.data;
	smem_position_record(sh->sink, &position, &rec->page);
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].tenant != NULL)
			write_detour(sh, rec, &sh->stream[i]);
	}
	smem_park(sh->sink, rec->parked, rec->nparked);
	smem_bury(sh->sink, rec->dead, rec->ndead);
	smem_unpark(sh->sink, rec->unpark, rec->nunpark);
	smem_park_promote(sh->sink, rec->tenants, rec->sessions, rec->ntouched);
	smem_news_told(rec->told, rec->ntold);
	smem_ahead_add(sh->sink, rec->ahead, rec->nahead);
	smem_ahead_remove(sh->sink, rec->passed, rec->npassed);
}

/* What the record has written of the streams is so from now on. */
static void
publish_streams(SmemShipper *sh, SmemRecord *rec)
{
	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		SmemStream *st = &sh->stream[i];

		if (i > 0 && (st->tenant == NULL || !is_recordable(sh, rec, i)))
			continue;
		st->recorded = true;
		st->moved = false;
	}
	for (int i = 1; i <= SMEM_DETOURS; i++)
		sh->stream[i].before = Max(0, sh->stream[i].before - rec->settled[SMEM_LIST_MAIN]);
}

static void
remove_entries(SmemShipper *sh, SmemRecord *rec)
{
	for (int i = 0; i < rec->nstuck; i++)
	{
		smem_stream_row_gone(&sh->stream[rec->stuck[i]->list], rec->stuck[i]);
		smem_window_set_aside(&sh->window, rec->stuck[i]);
	}
	for (int i = 0; i < rec->n; i++)
	{
		SmemEntry *entry = rec->entries[i];

		if (!smem_entry_is_news(entry))
			sh->recorded_high = Max(sh->recorded_high, (uint64_t) entry->id);
		if (!entry->retry)
			smem_stream_row_gone(&sh->stream[entry->list], entry);
		smem_window_remove(&sh->window, entry);
	}
	smem_feed_retire(sh);
}

static void
publish_ahead(SmemShipper *sh, SmemRecord *rec)
{
	for (int i = 0; i < rec->nearly; i++)
		smem_window_logged(&sh->window, rec->early[i]);
	smem_exact_note_ahead(sh, rec->ahead, rec->nahead);
	smem_exact_forget_ahead(sh, rec->passed, rec->npassed);
	smem_exact_recorded(sh);
}

/* Kafka's shipper tells of what died here. */
static void
announce(SmemShipper *sh, int ndead)
{
	SmemSinkSlot *kafka = &sh->db->sink[SMEM_SINK_KAFKA];

	pg_atomic_fetch_add_u32(&sh->slot->dead, ndead);
	pg_atomic_fetch_add_u64(&sh->slot->deaths, ndead);
	if (ndead == 0)
		return;
	pg_atomic_write_u32(&kafka->news, 1);
	smem_wake_shippers(sh->db, true);
}

/* After the commit: forget the rows, move the figures, wake who waits. */
static void
publish(SmemShipper *sh, SmemRecord *rec)
{
	smem_tenants_forget(sh);
	publish_ahead(sh, rec);
	publish_streams(sh, rec);
	smem_tally_record(sh, rec);
	remove_entries(sh, rec);
	/* What was read of them is parked; what was not stays in the outbox. */
	for (int i = 0; i < rec->nheld; i++)
		smem_tenants_hold(sh, rec->held[i], rec->held_until[i]);
	sh->last_record = sh->now;
	sh->parked += rec->new_parked;
	sh->delayed += rec->new_delayed;
	if (rec->nparked + rec->nunpark + rec->ntouched > 0)
		sh->park_changed = true;
	pg_atomic_fetch_add_u64(&sh->slot->done, rec->done);
	pg_atomic_write_u32(&sh->slot->parked, (uint32) sh->parked);
	pg_atomic_write_u64(&sh->slot->recorded_high, sh->recorded_high);
	announce(sh, rec->ndead);
	if (rec->last_success != 0)
		pg_atomic_write_u64(&sh->slot->last_success, (uint64) rec->last_success);
	ConditionVariableBroadcast(&sh->db->delivered);
}

/* Settled rows that a record would take, as far as it matters. */
static int
count_settled(SmemShipper *sh)
{
	int n = sh->window.settled_retries;

	for (int i = 0; i <= SMEM_DETOURS && n < RECORD_SOON; i++)
	{
		if (sh->window.rows_of[i] > 0 && sh->stream[i].before == 0)
			n += smem_window_settled(&sh->window, i, RECORD_SOON);
	}
	return n;
}

/* When rows are to be recorded early; 0: none are. */
static TimestampTz
early_due(SmemShipper *sh)
{
	TimestampTz due = 0;

	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		SmemStream *st = &sh->stream[i];

		if (!smem_window_is_blocked(&sh->window, i))
			st->blocked_since = 0;
		else if (st->blocked_since == 0)
			st->blocked_since = sh->now;
		if (st->blocked_since != 0 && (due == 0 || st->blocked_since + EARLY_AFTER_US < due))
			due = st->blocked_since + EARLY_AFTER_US;
	}
	return due;
}

/* When what is settled is to be recorded: at once when it is much, else at the pace of the looks. 0: nothing is. */
TimestampTz
smem_settle_due(SmemShipper *sh)
{
	int			n = count_settled(sh);
	TimestampTz early = early_due(sh);

	if (smem_exact_due(sh))
		return sh->now;
	if (n >= RECORD_SOON || (n > 0 && smem_window_full(&sh->window)))
		return sh->now;
	if (n == 0 && !smem_tenants_news(sh))
		return early;
	return early == 0 ? sh->last_record + sh->linger_us
					  : Min(early, sh->last_record + sh->linger_us);
}

void
smem_settle_record(SmemShipper *sh, bool force)
{
	TimestampTz due = smem_settle_due(sh);
	TimestampTz early = early_due(sh);
	SmemRecord	rec;

	if (!force && (due == 0 || due > sh->now))
		return;
	if (sh->had_known)
		settle_had(sh);
	smem_record_init(&rec, sh->window.rows + (sh->had_known ? sh->nhad : 0) + 1);
	collect(sh, &rec);
	for (int i = 0; i < rec.n; i++)
		smem_record_take(sh, &rec, rec.entries[i]);
	if (smem_exact_due(sh) || (early != 0 && early <= sh->now && room_aside(sh, &rec) <= 0))
		collect_early(sh, &rec);
	if (!smem_begin("recording deliveries"))
	{
		sh->exists = false;
		return;
	}
	write_record(sh, &rec);
	smem_commit();
	MemoryContextSwitchTo(sh->turn);
	publish(sh, &rec);
}
