#include "postgres.h"

#include "policy/refusals.h"

#include "common/hashfn.h"
#include "core/encode.h"
#include "miscadmin.h"
#include "pg/ticks.h"
#include "policy/count.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* So many reasons are told apart; a minute is by a clock that nobody sets. */
#define REASONS 64
#define LOG_PAUSE_US ((int64) 60000000)

typedef struct Refusals
{
	LWLock	   *lock;
	int64		logged_at[REASONS]; /* when a reason of that hash was last logged; 0: never */
	uint64		noted;				/* since the server started; the next place, modulo the size */
	SmemRefusal kept[FLEXIBLE_ARRAY_MEMBER];
} Refusals;

static Refusals *refusals;

Size
smem_refusals_size(void)
{
	return add_size(offsetof(Refusals, kept), mul_size(smem_guc_decision_log, sizeof(SmemRefusal)));
}

void
smem_refusals_start(LWLock *lock)
{
	bool found;

	refusals = ShmemInitStruct("somamem refusals", smem_refusals_size(), &found);
	if (found)
		return;
	memset(refusals, 0, smem_refusals_size());
	refusals->lock = lock;
}

/* Cuts between characters. */
static void
copy_text(char *to, SmemStr from, size_t size)
{
	SmemStr cut = smem_cut_text(from, size - 1);

	if (cut.len > 0)
		memcpy(to, cut.data, cut.len);
	to[cut.len] = '\0';
}

static void
keep(const SmemRefused *refused)
{
	SmemRefusal *place = &refusals->kept[refusals->noted++ % smem_guc_decision_log];

	place->at = GetCurrentTimestamp();
	place->database = MyDatabaseId;
	place->role = GetUserId();
	place->engine = refused->engine;
	place->dry_run = smem_guc_policy_dry_run;
	copy_text(place->action, refused->action, sizeof(place->action));
	copy_text(place->resource, refused->resource, sizeof(place->resource));
	copy_text(place->tenant, refused->tenant, sizeof(place->tenant));
	copy_text(place->reason, smem_str(refused->reason), sizeof(place->reason));
}

/* Whether the reason was not logged for a minute; then it counts as logged now.  Lock held exclusive. */
static bool
is_to_be_logged(const char *reason)
{
	uint32 hash = hash_bytes((const unsigned char *) reason, (int) strlen(reason));
	int64 *at = &refusals->logged_at[hash % REASONS];
	int64  now = smem_ticks_us();

	if (*at != 0 && now - *at < LOG_PAUSE_US)
		return false;
	*at = now;
	return true;
}

void
smem_refusal_note(const SmemRefused *refused)
{
	bool log;

	if (smem_guc_decision_log == 0 && !smem_guc_policy_dry_run)
		return;
	LWLockAcquire(refusals->lock, LW_EXCLUSIVE);
	if (smem_guc_decision_log > 0)
		keep(refused);
	log = smem_guc_policy_dry_run && is_to_be_logged(refused->reason);
	LWLockRelease(refusals->lock);
	if (log)
		ereport(LOG, (errmsg("policy would refuse: %s", refused->reason),
					  /* The statement has the payload in it. */
					  errhidestmt(true), errhidecontext(true),
					  errdetail("Action \"%.*s\" on \"%.*s\"; said once a minute.",
								(int) refused->action.len, refused->action.data,
								(int) refused->resource.len, refused->resource.data)));
}

int
smem_refusals_read(SmemRefusal **copy)
{
	int n;

	*copy = palloc(sizeof(SmemRefusal) * (smem_guc_decision_log + 1));
	if (smem_guc_decision_log == 0)
		return 0;
	LWLockAcquire(refusals->lock, LW_SHARED);
	n = (int) Min(refusals->noted, (uint64) smem_guc_decision_log);
	for (int i = 0; i < n; i++)
		(*copy)[i] = refusals->kept[(refusals->noted - n + i) % smem_guc_decision_log];
	LWLockRelease(refusals->lock);
	return n;
}
