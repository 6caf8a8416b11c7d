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
#include "outbox/park.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Enough settled rows to be worth a record at once, and the most that one takes. */
#define RECORD_SOON 256
#define RECORD_MAX 2048

/* What one record writes. */
typedef struct Record
{
	SmemPage	   page;
	StringInfoData receipts;
	SmemParked	  *parked;
	int			   nparked;
	SmemDead	  *dead;
	int			   ndead;
	int64_t		  *unpark;
	int			   nunpark;
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
	rec->tenants[rec->ntouched] = entry->tenant;
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
	parked->tenant = entry->tenant;
	parked->session = entry->session;
	parked->state = state;
	parked->attempts = attempts;
	parked->next_attempt_at = next;
	parked->commit_at = entry->commit_at;
	parked->class = entry->class;
	parked->error = entry->reason;
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
			add_parked(rec, entry, "held", 0, sh->now + (int64) entry->delay_ms * 1000);
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

static void
init_record(Record *rec, int n)
{
	memset(rec, 0, sizeof(*rec));
	rec->page.ids = palloc(sizeof(int64_t) * n);
	rec->page.delivered_at = palloc(sizeof(TimestampTz) * n);
	rec->parked = palloc(sizeof(SmemParked) * n);
	rec->dead = palloc(sizeof(SmemDead) * n);
	rec->unpark = palloc(sizeof(int64_t) * n);
	rec->tenants = palloc(sizeof(char *) * n);
	rec->sessions = palloc(sizeof(char *) * n);
	initStringInfo(&rec->receipts);
}

/* Where the position will be once the first n rows of the stream are settled. */
static void
position_after(SmemShipper *sh, int n, SmemPosition *position)
{
	int		   left[SMEM_STEPS];
	SmemEntry *next = NULL;
	dlist_iter iter;

	for (int i = 0; i < sh->nsteps; i++)
		left[i] = sh->steps[(sh->first_step + i) % SMEM_STEPS].rows;
	dlist_foreach (iter, &sh->window.stream)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (n-- == 0)
		{
			next = entry;
			break;
		}
		left[entry->step - sh->steps[sh->first_step].number]--;
	}
	memset(position, 0, sizeof(*position));
	position->from = sh->from;
	for (int i = 0; i < sh->nsteps; i++)
	{
		SmemOpenStep *open = &sh->steps[(sh->first_step + i) % SMEM_STEPS];

		if (open->step.all_read && left[i] == 0)
		{
			position->from = open->step.to;
			continue;
		}
		position->in_step = true;
		position->to = open->step.to;
		position->after_id =
			next != NULL && next->step == open->number ? next->id - 1 : open->step.read_id;
		return;
	}
}

static void
write_record(SmemShipper *sh, Record *rec, int nstream)
{
	SmemPosition position;

	position_after(sh, nstream, &position);
	if (rec->page.rows > 0)
		appendStringInfoChar(&rec->receipts, ']');
	rec->page.receipts = rec->receipts.data;
	smem_position_record(sh->sink, &position, &rec->page);
	smem_park(sh->sink, rec->parked, rec->nparked);
	smem_bury(sh->sink, rec->dead, rec->ndead);
	smem_unpark(sh->sink, rec->unpark, rec->nunpark);
	smem_park_promote(sh->sink, rec->tenants, rec->sessions, rec->ntouched);
}

/* After the commit: forget the rows, move the figures, wake who waits. */
static void
publish(SmemShipper *sh, Record *rec, SmemEntry **entries, int n)
{
	for (int i = 0; i < n; i++)
	{
		sh->recorded_high = Max(sh->recorded_high, (uint64_t) entries[i]->id);
		if (!entries[i]->retry)
			sh->steps[(sh->first_step + (entries[i]->step - sh->steps[sh->first_step].number)) %
					  SMEM_STEPS]
				.rows--;
		smem_window_remove(&sh->window, entries[i]);
	}
	smem_feed_retire(sh);
	sh->position_moved = false;
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

static int
collect(SmemShipper *sh, SmemEntry **entries, int nstream)
{
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &sh->window.stream)
	{
		if (n == nstream)
			break;
		entries[n++] = dlist_container(SmemEntry, node, iter.cur);
	}
	dlist_foreach (iter, &sh->window.retries)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind != 0)
			entries[n++] = entry;
	}
	return n;
}

/* When what is settled is to be recorded: at once when it is much, else at the pace of the looks. 0: nothing is. */
TimestampTz
smem_settle_due(SmemShipper *sh)
{
	int n = smem_window_settled(&sh->window, RECORD_SOON) + sh->window.settled_retries;

	if (n == 0)
		return 0;
	if (n >= RECORD_SOON || smem_window_full(&sh->window))
		return sh->now;
	return sh->last_record + sh->linger_us;
}

void
smem_settle_record(SmemShipper *sh, bool force)
{
	TimestampTz due = smem_settle_due(sh);
	int			nstream;
	int			n;
	Record		rec;
	SmemEntry **entries;

	if (!force && (due == 0 || due > sh->now))
		return;
	nstream = smem_window_settled(&sh->window, RECORD_MAX);
	n = nstream + sh->window.settled_retries;
	init_record(&rec, n + 1);
	entries = palloc(sizeof(SmemEntry *) * (n + 1));
	n = collect(sh, entries, nstream);
	for (int i = 0; i < n; i++)
		classify(sh, &rec, entries[i]);
	if (!smem_begin("recording deliveries"))
	{
		sh->exists = false;
		return;
	}
	write_record(sh, &rec, nstream);
	smem_commit();
	MemoryContextSwitchTo(sh->turn);
	publish(sh, &rec, entries, n);
}
