#include "postgres.h"

#include "worker/record.h"

#include "common/pg_prng.h"
#include "core/retry.h"
#include "pg/settings.h"
#include "utils/timestamp.h"

/* Where this process ends before the outcome comes, the next one tries the row after this. */
#define SET_ASIDE_US ((int64_t) 5000000)

static void
touch(SmemRecord *rec, SmemEntry *entry)
{
	rec->tenants[rec->ntouched] = smem_entry_tenant(entry);
	rec->sessions[rec->ntouched++] = entry->session;
}

void
smem_record_log(SmemRecord *rec, int64_t id, uint64_t owner, TimestampTz at, const char *receipt)
{
	int i = rec->page.rows++;

	rec->page.ids[i] = id;
	rec->page.owners[i] = (int64_t) owner;
	rec->page.delivered_at[i] = at;
	appendStringInfoChar(&rec->receipts, i == 0 ? '[' : ',');
	appendStringInfoString(&rec->receipts, receipt ? receipt : "null");
}

static void
measure(SmemRecord *rec, SmemEnd end, const SmemEntry *entry)
{
	int64 took = Max(0, entry->at - entry->commit_at);

	smem_counts_add(&rec->persisted[end],
					(uint64) (took + SMEM_PERSISTENCE_UNIT_US - 1) / SMEM_PERSISTENCE_UNIT_US, 1);
}

void
smem_record_delivered(SmemRecord *rec, SmemEntry *entry)
{
	smem_record_log(rec, entry->id, entry->owner, entry->at, entry->receipt);
	measure(rec, SMEM_END_DELIVERED, entry);
	rec->page.bytes += entry->bytes;
	if (rec->page.oldest_commit_at == 0 || entry->commit_at < rec->page.oldest_commit_at)
		rec->page.oldest_commit_at = entry->commit_at;
	if (entry->at > rec->last_success)
		rec->last_success = entry->at;
}

static void
add_dead(SmemRecord *rec, SmemEntry *entry, int attempts)
{
	SmemDead *dead = &rec->dead[rec->ndead++];

	dead->id = entry->id;
	dead->class = entry->class ? entry->class : "refused";
	dead->reason = entry->reason ? entry->reason : "";
	dead->attempts = attempts;
	measure(rec, SMEM_END_DEAD, entry);
}

static void
add_parked(SmemRecord *rec, SmemEntry *entry, const char *state, int attempts, TimestampTz next)
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
add_held(SmemRecord *rec, SmemEntry *entry, TimestampTz until)
{
	add_parked(rec, entry, "held", 0, until);
	if (rec->nheld > 0 && strcmp(rec->held[rec->nheld - 1], smem_entry_tenant(entry)) == 0)
		return;
	rec->held[rec->nheld] = pstrdup(smem_entry_tenant(entry));
	rec->held_until[rec->nheld++] = until;
}

/* The row is delivered or dead: it needs nothing more, and its session moves up. */
static void
leave(SmemRecord *rec, SmemEntry *entry)
{
	rec->done++;
	rec->left[rec->nleft++] = entry;
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

/* News is told, or can never be: what the topic refuses once it always refuses. */
static void
add_told(SmemRecord *rec, SmemEntry *entry)
{
	rec->told[rec->ntold++] = entry->id;
	if (entry->kind != SMEM_OUTCOME_DELIVERED)
		ereport(WARNING, (errmsg("the dead-letter topic refused news of a dead letter"),
						  errdetail("%s", entry->reason ? entry->reason : "No reason was given.")));
}

void
smem_record_take(SmemShipper *sh, SmemRecord *rec, SmemEntry *entry)
{
	int attempts = entry->retry ? entry->attempts : Max(entry->attempts, 1);

	if (smem_entry_is_news(entry))
	{
		add_told(rec, entry);
		return;
	}
	switch (entry->kind)
	{
		case SMEM_OUTCOME_LOGGED:
			rec->passed[rec->npassed++] = entry->id;
			leave(rec, entry);
			break;
		case SMEM_OUTCOME_DELIVERED:
			smem_record_delivered(rec, entry);
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
			if (entry->retry && !entry->stuck)
				break; /* it is parked behind its head already */
			add_parked(rec, entry, "behind", 0, 0);
			rec->new_parked += !entry->retry;
			touch(rec, entry);
			break;
		case SMEM_OUTCOME_DELAYED:
			add_parked(rec, entry, "delayed", 0, entry->at);
			rec->new_delayed++;
			break;
	}
}

void
smem_record_set_aside(SmemShipper *sh, SmemRecord *rec, SmemEntry *entry)
{
	entry->attempts = Max(entry->attempts, 1);
	add_parked(rec, entry, "sent", entry->attempts, sh->now + SET_ASIDE_US);
	rec->new_parked++;
	rec->stuck[rec->nstuck++] = entry;
}

void
smem_record_init(SmemRecord *rec, int n)
{
	memset(rec, 0, sizeof(*rec));
	rec->entries = palloc(sizeof(SmemEntry *) * n);
	rec->left = palloc(sizeof(SmemEntry *) * n);
	rec->page.ids = palloc(sizeof(int64_t) * n);
	rec->page.owners = palloc(sizeof(int64_t) * n);
	rec->page.delivered_at = palloc(sizeof(TimestampTz) * n);
	rec->parked = palloc(sizeof(SmemParked) * n);
	rec->dead = palloc(sizeof(SmemDead) * n);
	rec->unpark = palloc(sizeof(int64_t) * n);
	rec->told = palloc(sizeof(int64_t) * n);
	rec->stuck = palloc(sizeof(SmemEntry *) * n);
	rec->early = palloc(sizeof(SmemEntry *) * n);
	rec->ahead = palloc(sizeof(int64_t) * n);
	rec->passed = palloc(sizeof(int64_t) * n);
	rec->held = palloc(sizeof(char *) * n);
	rec->held_until = palloc(sizeof(TimestampTz) * n);
	rec->tenants = palloc(sizeof(char *) * n);
	rec->sessions = palloc(sizeof(char *) * n);
	initStringInfo(&rec->receipts);
}
