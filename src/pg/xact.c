#include "postgres.h"

#include "pg/xact.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pg/owed.h"
#include "pg/shmem.h"
#include "utils/memutils.h"

/* With more tenants in one transaction, the rows of the others are counted for nobody. */
#define TENANTS_MOST 1024

typedef struct Written
{
	SmemOwedRef ref;
	int64_t		rows;
} Written;

/* Rows written at one depth of savepoints; the stack lives in TopTransactionContext. */
typedef struct Level
{
	int			  depth;
	int64_t		  rows;
	Written		 *written; /* by tenants that have a place */
	int			  nwritten;
	int			  room;
	struct Level *outer;
} Level;

static Level *levels = NULL;
static bool	  rescan_at_commit = false;
static bool	  release_at_end = false;
static bool	  refuse_prepare = false;
static bool	  lever_pulled[SMEM_SINKS];
static bool	  lever_tries_now[SMEM_SINKS];

static void
add_written(Level *level, SmemOwedRef ref, int64_t rows)
{
	if (ref.key == 0)
		return;
	for (int i = level->nwritten - 1; i >= 0; i--)
	{
		if (level->written[i].ref.key == ref.key)
		{
			level->written[i].rows += rows;
			return;
		}
	}
	if (level->nwritten == TENANTS_MOST)
		return;
	if (level->nwritten == level->room)
	{
		level->room = Max(4, level->room * 2);
		level->written =
			level->written == NULL
				? MemoryContextAlloc(TopTransactionContext, sizeof(Written) * level->room)
				: repalloc(level->written, sizeof(Written) * level->room);
	}
	level->written[level->nwritten].ref = ref;
	level->written[level->nwritten++].rows = rows;
}

void
smem_xact_wrote(SmemStr tenant, int64_t rows)
{
	int depth = GetCurrentTransactionNestLevel();

	if (levels == NULL || levels->depth < depth)
	{
		Level *level = MemoryContextAllocZero(TopTransactionContext, sizeof(Level));

		level->depth = depth;
		level->outer = levels;
		levels = level;
	}
	levels->rows += rows;
	if (smem_shared != NULL)
		add_written(levels, smem_owed_find(MyDatabaseId, tenant, true), rows);
}

void
smem_xact_rescan_at_commit(void)
{
	rescan_at_commit = true;
}

void
smem_xact_release_at_end(void)
{
	release_at_end = true;
}

void
smem_xact_lever_pulled(SmemSink sink, bool try_now)
{
	lever_pulled[sink] = true;
	lever_tries_now[sink] |= try_now;
}

void
smem_xact_refuse_prepare(void)
{
	refuse_prepare = true;
}

/* A savepoint's rows become its parent's, or never were. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid,
				   void *arg)
{
	int	   depth = GetCurrentTransactionNestLevel();
	Level *ended = levels;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (levels == NULL || levels->depth < depth)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB &&
		(levels->outer == NULL || levels->outer->depth < depth - 1))
	{
		levels->depth = depth - 1;
		return;
	}
	levels = ended->outer;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		return;
	levels->rows += ended->rows;
	for (int i = 0; i < ended->nwritten; i++)
		add_written(levels, ended->written[i].ref, ended->written[i].rows);
}

/* The rows are visible already: a figure may lag behind a delivery, never a row behind its wake. */
static void
tell_workers(const Level *level)
{
	SmemDatabaseSlot *db = smem_my_database();
	uint64			  now = (uint64) GetCurrentTransactionStopTimestamp();

	if (db == NULL)
		return;
	pg_atomic_fetch_add_u64(&db->committed, level->rows);
	for (int i = 0; i < level->nwritten; i++)
		smem_owed_committed(level->written[i].ref, (uint64) level->written[i].rows,
							(TimestampTz) now);
	smem_note_unseen(db, (TimestampTz) now);
	smem_wake_shippers(db, false);
}

static void
tell_of_levers(void)
{
	SmemDatabaseSlot *db = smem_my_database();
	bool			  any = false;

	for (int sink = 0; sink < SMEM_SINKS && db != NULL; sink++)
	{
		if (!lever_pulled[sink])
			continue;
		if (lever_tries_now[sink])
			pg_atomic_write_u32(&db->sink[sink].try_now, 1);
		/* Last: who sees this flag finds the other. */
		pg_atomic_exchange_u32(&db->sink[sink].levers, 1);
		any = true;
	}
	if (any)
		smem_wake_shippers(db, true);
}

static void
check_prepare(void)
{
	if (refuse_prepare)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has operated on the outbox"),
						errhint("Call pause, resume, retry, redrive, discard, replay and erase in"
								" transactions that are committed at once.")));
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			check_prepare();
			return;
		case XACT_EVENT_COMMIT:
			if (levels != NULL && levels->rows > 0)
				tell_workers(levels);
			if (rescan_at_commit && smem_shared != NULL)
			{
				pg_atomic_write_u32(&smem_shared->rescan, 1);
				smem_wake_launcher();
			}
			tell_of_levers();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* COMMIT PREPARED wakes the shippers by the utility hook; they count what they find. */
			break;
		default:
			return;
	}
	levels = NULL;
	rescan_at_commit = false;
	refuse_prepare = false;
	memset(lever_pulled, 0, sizeof(lever_pulled));
	memset(lever_tries_now, 0, sizeof(lever_tries_now));
	if (release_at_end)
		smem_database_release_all();
	release_at_end = false;
}

void
smem_xact_install(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
