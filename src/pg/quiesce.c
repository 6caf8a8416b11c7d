#include "postgres.h"

#include "pg/quiesce.h"

#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "pg/shmem.h"
#include "pg/ticks.h"
#include "pg/xact.h"
#include "pgstat.h"
#include "storage/lmgr.h"

#define STOP_TIMEOUT_MS 5000
#define SIGNAL_AGAIN_MS 100

/* Signals what runs in the database; true when nothing does. */
static bool
stop_workers(SmemDatabaseSlot *db)
{
	bool stopped = true;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		if (db->sink[sink].pid == 0)
			continue;
		stopped = false;
		kill(db->sink[sink].pid, SIGTERM);
	}
	LWLockRelease(smem_shared->lock);
	return stopped;
}

/*
 * Two that quiesce one database would bring its workers back at the end of
 * the first.  The lock is on the extension, which DROP EXTENSION wants anyway:
 * so the deadlock detector sees who waits.
 */
static void
wait_for_others(void)
{
	Oid extension = smem_extension_oid();

	if (OidIsValid(extension))
		LockDatabaseObject(ExtensionRelationId, extension, 0, ShareUpdateExclusiveLock);
}

/* Marks the database, and returns its slot; NULL when it has none.  False when another session has marked it. */
static bool
mark(Oid oid, SmemDatabaseSlot **slot)
{
	SmemDatabaseSlot *db;
	bool			  ours = true;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	/* The launcher may not know our own yet, and start a worker in the middle. */
	db = oid == MyDatabaseId ? smem_database_claim(oid) : smem_database_find(oid);
	if (db != NULL && db->state != SMEM_DATABASE_QUIESCED)
	{
		db->state = SMEM_DATABASE_QUIESCED;
		db->quiesce_pid = MyProcPid;
	}
	else if (db != NULL)
		ours = db->quiesce_pid == MyProcPid;
	LWLockRelease(smem_shared->lock);
	*slot = db;
	return ours;
}

bool
smem_quiesce(Oid database)
{
	SmemDatabaseSlot *db;
	int64			  until;
	bool			  stopped;

	if (database == MyDatabaseId)
		wait_for_others();
	/* Before anything can fail: a wait that is cancelled must not leave it without workers. */
	smem_xact_release_at_end();
	if (!mark(database, &db))
		return false;
	if (db == NULL)
		return true;
	until = smem_ticks_us() + STOP_TIMEOUT_MS * INT64CONST(1000);
	ConditionVariablePrepareToSleep(&db->delivered);
	while (!(stopped = stop_workers(db)) && smem_ticks_us() < until)
		(void) ConditionVariableTimedSleep(&db->delivered, SIGNAL_AGAIN_MS, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
	return stopped;
}
