/*
 * The recording half of a shipper: takes outcomes from the courier and
 * writes them down, together with the position they allow.
 *
 * If we die between an outcome and its record, the rows are sent again with
 * the same keys.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "common/pg_prng.h"
#include "core/retry.h"
#include "lib/stringinfo.h"
#include "outbox/detour.h"
#include "outbox/park.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Enough settled rows to be worth a record at once. */
#define RECORD_SOON 256

/* What one record writes. */
typedef struct Record
{
	int			   settled[SMEM_DETOURS + 1]; /* rows of each stream, from its first */
	SmemEntry	 **entries;
	int			   n;
	SmemPage	   page;
	StringInfoData receipts;
	SmemParked	  *parked;
	int			   nparked;
	SmemDead	  *dead;
	int			   ndead;
	int64_t		  *unpark;
	int			   nunpark;
	char		 **held; /* tenants that the sink wants nothing of, and until when */
	TimestampTz	  *held_until;
	int			   nheld;
	const char	 **tenants; /* of sessions whose parked rows may move up */
	const char	 **sessions;
	int			   ntouched;
	int			   new_parked; /* change of the figures */
	int			   new_delayed;
	int			   done;
	TimestampTz	   last_success;
} Record;

static void
take_state(SmemShipper *sh, SmemReader *rd)
{
	SmemSinkState state;

	smem_get_state(rd, &state);
	pg_atomic_write_u32(&sh->slot->circuit, state.circuit);
	pg_atomic_write_u64(&sh->slot->retries, state.retries);
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (smem_str_present(state.last_error))
	{
		size_t len = Min(state.last_error.len, SMEM_ERROR_LEN - 1);

		memcpy(sh->slot->last_error, state.last_error.data, len);
		sh->slot->last_error[len] = '\0';
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

static void
touch(Record *rec, SmemEntry *entry)
{
	rec->tenants[rec->ntouched] = smem_entry_tenant(entry);
	rec->sessions[rec->ntouched++] = entry->session;
}

static void
add_delivered(Record *rec, SmemEntry *entry)
{
	int i = rec->page.rows++;

	rec->page.ids[i] = entry->id;
	rec->page.delivered_at[i] = entry->at;
	rec->page.bytes += entry->bytes;
	if (rec->page.oldest_commit_at == 0 || entry->commit_at < rec->page.oldest_commit_at)
		rec->page.oldest_commit_at = entry->commit_at;
	if (entry->at > rec->last_success)
		rec->last_success = entry->at;
	appendStringInfoChar(&rec->receipts, i == 0 ? '[' : ',');
	appendStringInfoString(&rec->receipts, entry->receipt ? entry->receipt : "null");
}

static void
add_dead(Record *rec, SmemEntry *entry, int attempts)
{
	SmemDead *dead = &rec->dead[rec->ndead++];

	dead->id = entry->id;
	dead->class = entry->class ? entry->class : "refused";
	dead->reason = entry->reason ? entry->reason : "";
	dead->attempts = attempts;
}

static void
add_parked(Record *rec, SmemEntry *entry, const char *state, int attempts, TimestampTz next)
{
	SmemParked *parked = &rec->parked[rec->nparked++];

	parked->id = entry->id;
	parked->tenant = smem_entry_tenant(entry);
	parked->session = entry->session;
	parked->state = state;
	parked->attempts = attempts;
	parked->next_attempt_at = next;
	parked->commit_at = entry->commit_at;
	parked->class = entry->class;
	parked->error = entry->reason;
}

static void
add_held(Record *rec, SmemEntry *entry, TimestampTz until)
{
	add_parked(rec, entry, "held", 0, until);
	if (rec->nheld > 0 && strcmp(rec->held[rec->nheld - 1], smem_entry_tenant(entry)) == 0)
		return;
	rec->held[rec->nheld] = pstrdup(smem_entry_tenant(entry));
	rec->held_until[rec->nheld++] = until;
}

/* The row is delivered or dead: it needs nothing more, and its session moves up. */
static void
leave(Record *rec, SmemEntry *entry)
{
	rec->done++;
	if (!entry->retry)
		return;
	rec->unpark[rec->nunpark++] = entry->id;
	rec->new_parked--;
	touch(rec, entry);
}

static TimestampTz
next_attempt(SmemShipper *sh, SmemEntry *entry, int attempts)
{
	SmemRetry retry = {.initial = (SmemTime) smem_guc_retry_initial * 1000,
					   .max = (SmemTime) smem_guc_retry_max * 1000};

	return sh->now +
		   smem_retry_delay(&retry, (uint32_t) attempts, pg_prng_uint64(&pg_global_prng_state));
}

static void
classify(SmemShipper *sh, Record *rec, SmemEntry *entry)
{
	int attempts = entry->retry ? entry->attempts : Max(entry->attempts, 1);

	switch (entry->kind)
	{
		case SMEM_OUTCOME_DELIVERED:
			add_delivered(rec, entry);
			leave(rec, entry);
			break;
		case SMEM_OUTCOME_FAILED:
			if (attempts < smem_guc_max_attempts)
			{
				add_parked(rec, entry, "retry", attempts, next_attempt(sh, entry, attempts));
				rec->new_parked += !entry->retry;
				break;
			}
			/* FALLTHROUGH */
		case SMEM_OUTCOME_DEAD:
			add_dead(rec, entry, attempts);
			leave(rec, entry);
			break;
		case SMEM_OUTCOME_HELD:
			add_held(rec, entry, sh->now + (int64) entry->delay_ms * 1000);
			rec->new_parked += !entry->retry;
			break;
		case SMEM_OUTCOME_BEHIND:
			if (entry->retry)
				break; /* it is parked behind its head already */
			add_parked(rec, entry, "behind", 0, 0);
			rec->new_parked++;
			touch(rec, entry);
			break;
		case SMEM_OUTCOME_DELAYED:
			add_parked(rec, entry, "delayed", 0, entry->at);
			rec->new_delayed++;
			rec->done++;
			break;
	}
}

/* Makes room for n entries. */
static void
init_record(Record *rec, int n)
{
	memset(rec, 0, sizeof(*rec));
	rec->entries = palloc(sizeof(SmemEntry *) * n);
	rec->page.ids = palloc(sizeof(int64_t) * n);
	rec->page.delivered_at = palloc(sizeof(TimestampTz) * n);
	rec->parked = palloc(sizeof(SmemParked) * n);
	rec->dead = palloc(sizeof(SmemDead) * n);
	rec->unpark = palloc(sizeof(int64_t) * n);
	rec->held = palloc(sizeof(char *) * n);
	rec->held_until = palloc(sizeof(TimestampTz) * n);
	rec->tenants = palloc(sizeof(char *) * n);
	rec->sessions = palloc(sizeof(char *) * n);
	initStringInfo(&rec->receipts);
}

/*
 * A detour can be recorded once the main stream's position passes its
 * beginning: before that, a restart begins without it.
 */
static bool
is_recordable(SmemShipper *sh, const Record *rec, int list)
{
	return list == SMEM_LIST_MAIN || sh->stream[list].before <= rec->settled[SMEM_LIST_MAIN];
}

static void
collect_stream(SmemShipper *sh, Record *rec, int list)
{
	dlist_iter iter;
	int		   n = 0;

	if (!is_recordable(sh, rec, list))
		return;
	dlist_foreach (iter, &sh->window.list[list])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind == 0)
			break;
		rec->entries[rec->n++] = entry;
		n++;
	}
	rec->settled[list] = n;
}

static void
collect(SmemShipper *sh, Record *rec)
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

static void
write_detour(SmemShipper *sh, Record *rec, SmemStream *st)
{
	SmemDetour detour = {.number = st->number, .tenant = st->tenant, .closed = st->closed};

	if (st->recorded && smem_tenants_is_over(sh, st))
	{
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
write_record(SmemShipper *sh, Record *rec)
{
	SmemPosition position;

	smem_stream_position(smem_main_stream(sh), &sh->window, rec->settled[SMEM_LIST_MAIN],
						 &position);
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
}

/* What the record has written of the streams is so from now on. */
static void
publish_streams(SmemShipper *sh, Record *rec)
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
remove_entries(SmemShipper *sh, Record *rec)
{
	for (int i = 0; i < rec->n; i++)
	{
		SmemEntry *entry = rec->entries[i];

		sh->recorded_high = Max(sh->recorded_high, (uint64_t) entry->id);
		if (!entry->retry)
			smem_stream_row_gone(&sh->stream[entry->list], entry);
		smem_window_remove(&sh->window, entry);
	}
	smem_feed_retire(sh);
}

/* After the commit: forget the rows, move the figures, wake who waits. */
static void
publish(SmemShipper *sh, Record *rec)
{
	smem_tenants_forget(sh);
	publish_streams(sh, rec);
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
	pg_atomic_fetch_add_u32(&sh->slot->dead, rec->ndead);
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

/* When what is settled is to be recorded: at once when it is much, else at the pace of the looks. 0: nothing is. */
TimestampTz
smem_settle_due(SmemShipper *sh)
{
	int n = count_settled(sh);

	if (n >= RECORD_SOON || (n > 0 && smem_window_full(&sh->window)))
		return sh->now;
	if (n == 0 && !smem_tenants_news(sh))
		return 0;
	return sh->last_record + sh->linger_us;
}

void
smem_settle_record(SmemShipper *sh, bool force)
{
	TimestampTz due = smem_settle_due(sh);
	Record		rec;

	if (!force && (due == 0 || due > sh->now))
		return;
	init_record(&rec, sh->window.rows + 1);
	collect(sh, &rec);
	for (int i = 0; i < rec.n; i++)
		classify(sh, &rec, rec.entries[i]);
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
