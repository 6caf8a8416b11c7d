#include "postgres.h"

#include "pg/xact.h"

#include "access/xact.h"
#include "pg/shmem.h"
#include "utils/memutils.h"

/* Rows written at one depth of savepoints; the stack lives in TopTransactionContext. */
typedef struct Level
{
	int			  depth;
	int64_t		  rows;
	struct Level *outer;
} Level;

static Level *levels = NULL;
static bool	  rescan_at_commit = false;
static bool	  release_at_end = false;

void
smem_xact_wrote(int64_t rows)
{
	int depth = GetCurrentTransactionNestLevel();

	if (levels == NULL || levels->depth < depth)
	{
		Level *level = MemoryContextAlloc(TopTransactionContext, sizeof(Level));

		level->depth = depth;
		level->rows = 0;
		level->outer = levels;
		levels = level;
	}
	levels->rows += rows;
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

/* A savepoint's rows become its parent's, or never were. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid,
				   void *arg)
{
	int		depth = GetCurrentTransactionNestLevel();
	int64_t rows;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (levels == NULL || levels->depth < depth)
		return;
	rows = levels->rows;
	if (event == SUBXACT_EVENT_COMMIT_SUB &&
		(levels->outer == NULL || levels->outer->depth < depth - 1))
	{
		levels->depth = depth - 1;
		return;
	}
	levels = levels->outer;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		levels->rows += rows;
}

/* The rows are visible already: a figure may lag behind a delivery, never a row behind its wake. */
static void
tell_workers(int64_t rows)
{
	SmemDatabaseSlot *db = smem_my_database();
	uint64			  now = (uint64) GetCurrentTransactionStopTimestamp();

	if (db == NULL)
		return;
	pg_atomic_fetch_add_u64(&db->committed, rows);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		uint64 none = 0;

		if (pg_atomic_read_u64(&db->sink[sink].unseen_since) == 0)
			pg_atomic_compare_exchange_u64(&db->sink[sink].unseen_since, &none, now);
	}
	smem_wake_shippers(db, false);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (levels != NULL && levels->rows > 0)
				tell_workers(levels->rows);
			if (rescan_at_commit && smem_shared != NULL)
			{
				pg_atomic_write_u32(&smem_shared->rescan, 1);
				smem_wake_launcher();
			}
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
