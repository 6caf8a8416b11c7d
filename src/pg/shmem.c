#include "postgres.h"

#include "pg/shmem.h"

#include "miscadmin.h"
#include "pg/meter.h"
#include "pg/owed.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define TRANCHE "somamem"

/* Locks of the tranche, by place. */
enum
{
	LOCK_SHARED,
	LOCK_OWED,
	LOCKS
};

SmemShared *smem_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
request_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(SmemShared)));
	RequestAddinShmemSpace(smem_meter_size());
	RequestAddinShmemSpace(smem_owed_size());
	RequestNamedLWLockTranche(TRANCHE, LOCKS);
}

static void
init_sink(SmemSinkSlot *slot)
{
	pg_atomic_init_u32(&slot->woken, 0);
	pg_atomic_init_u64(&slot->unseen_since, 0);
	pg_atomic_init_u32(&slot->levers, 0);
	pg_atomic_init_u32(&slot->try_now, 0);
	pg_atomic_init_u64(&slot->done, 0);
	pg_atomic_init_u64(&slot->oldest_pending, 0);
	pg_atomic_init_u64(&slot->last_success, 0);
	pg_atomic_init_u64(&slot->beat, 0);
	pg_atomic_init_u32(&slot->parked, 0);
	pg_atomic_init_u32(&slot->dead, 0);
	pg_atomic_init_u32(&slot->paused, 0);
	pg_atomic_init_u32(&slot->news, 0);
	pg_atomic_init_u32(&slot->circuit, SMEM_CIRCUIT_CLOSED);
	pg_atomic_init_u64(&slot->retries, 0);
	pg_atomic_init_u64(&slot->deaths, 0);
	pg_atomic_init_u32(&slot->counted, 0);
	pg_atomic_init_u64(&slot->recorded_high, 0);
}

static void
init_database(SmemDatabaseSlot *db)
{
	pg_atomic_init_u32(&db->segment, 0);
	pg_atomic_init_u64(&db->committed, 0);
	ConditionVariableInit(&db->delivered);
	pg_atomic_init_u32(&db->seeded, SMEM_SEED_NONE);
	ConditionVariableInit(&db->seeding);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
		init_sink(&db->sink[sink]);
}

static void
start_memory(void)
{
	LWLockPadded *locks;
	bool		  found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(TRANCHE);
	smem_meter_start();
	smem_owed_start(&locks[LOCK_OWED].lock);
	smem_shared = ShmemInitStruct("somamem", sizeof(SmemShared), &found);
	if (!found)
	{
		memset(smem_shared, 0, sizeof(SmemShared));
		smem_shared->lock = &locks[LOCK_SHARED].lock;
		pg_atomic_init_u32(&smem_shared->rescan, 1);
		pg_atomic_init_u32(&smem_shared->settled, 0);
		init_sink(&smem_shared->policy);
		init_sink(&smem_shared->web);
		pg_atomic_write_u32(&smem_shared->policy.circuit, SMEM_CIRCUIT_OPEN);
		pg_atomic_write_u32(&smem_shared->web.circuit, SMEM_CIRCUIT_OPEN);
		for (int i = 0; i < SMEM_MAX_DATABASES; i++)
			init_database(&smem_shared->database[i]);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
smem_shmem_install(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

void
smem_require_preload(void)
{
	if (smem_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("somamem is not loaded"),
				 errhint("Add somamem to shared_preload_libraries and restart the server.")));
}

SmemDatabaseSlot *
smem_database_find(Oid oid)
{
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i];

		if (db->state != SMEM_DATABASE_FREE && db->oid == oid)
			return db;
	}
	return NULL;
}

SmemDatabaseSlot *
smem_database_claim(Oid oid)
{
	SmemDatabaseSlot *db = smem_database_find(oid);

	for (int i = 0; i < SMEM_MAX_DATABASES && db == NULL; i++)
	{
		if (smem_shared->database[i].state != SMEM_DATABASE_FREE ||
			smem_shared->database[i].sink[0].pid != 0 || smem_shared->database[i].sink[1].pid != 0)
			continue;
		db = &smem_shared->database[i];
		db->oid = oid;
		db->name[0] = '\0';
		db->has_extension = false;
		db->probe_pid = 0;
		db->probe_at = 0;
		db->probe_failures = 0;
		db->probe_again = false;
		db->quiesce_pid = 0;
		pg_atomic_write_u32(&db->segment, 0);
		pg_atomic_write_u64(&db->committed, 0);
		pg_atomic_write_u32(&db->seeded, SMEM_SEED_NONE);
		for (int sink = 0; sink < SMEM_SINKS; sink++)
		{
			memset(&db->sink[sink], 0, offsetof(SmemSinkSlot, woken));
			init_sink(&db->sink[sink]);
		}
		smem_meter_reset(db);
	}
	return db;
}

bool
smem_database_served(SmemDatabaseSlot *db, char *name)
{
	bool served;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	served = db->state != SMEM_DATABASE_FREE && db->has_extension && db->name[0] != '\0';
	if (served)
		strlcpy(name, db->name, NAMEDATALEN);
	LWLockRelease(smem_shared->lock);
	return served;
}

SmemDatabaseSlot *
smem_my_database(void)
{
	static SmemDatabaseSlot *mine = NULL;

	if (smem_shared == NULL)
		return NULL;

	/* A slot seldom changes hands, so the answer is kept; a stale one costs a needless wake. */
	if (mine == NULL || mine->oid != MyDatabaseId || mine->state == SMEM_DATABASE_FREE)
	{
		LWLockAcquire(smem_shared->lock, LW_SHARED);
		mine = smem_database_find(MyDatabaseId);
		LWLockRelease(smem_shared->lock);
	}
	return mine;
}

/* Its workers ended because they were told to: none of that counts against the next one.  Lock held exclusive. */
static void
release(SmemDatabaseSlot *db)
{
	/* The probe finds out what has become of it. */
	db->state = SMEM_DATABASE_PROBE;
	db->probe_at = 0;
	db->quiesce_pid = 0;
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		db->sink[sink].failures = 0;
		db->sink[sink].restart_at = 0;
	}
}

void
smem_database_release_all(void)
{
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i];

		if (db->state == SMEM_DATABASE_QUIESCED && db->quiesce_pid == MyProcPid)
			release(db);
	}
	LWLockRelease(smem_shared->lock);
	smem_wake_launcher();
}

void
smem_note_unseen(SmemDatabaseSlot *db, TimestampTz at)
{
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		uint64 none = 0;

		if (pg_atomic_read_u64(&db->sink[sink].unseen_since) == 0)
			pg_atomic_compare_exchange_u64(&db->sink[sink].unseen_since, &none, (uint64) at);
	}
}

void
smem_wake_launcher(void)
{
	Latch *latch;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	latch = smem_shared->launcher_latch;
	LWLockRelease(smem_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
}

void
smem_wake_shippers(SmemDatabaseSlot *db, bool force)
{
	Latch *latch[SMEM_SINKS];
	int	   n = 0;

	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		SmemSinkSlot *slot = &db->sink[sink];

		/* The shipper clears the flag before it looks: a commit after that sets the latch anew. */
		if (pg_atomic_read_u32(&slot->woken) == 1 && !force)
			continue;
		if (pg_atomic_exchange_u32(&slot->woken, 1) == 1 && !force)
			continue;
		LWLockAcquire(smem_shared->lock, LW_SHARED);
		if (slot->latch != NULL)
			latch[n++] = slot->latch;
		LWLockRelease(smem_shared->lock);
	}
	for (int i = 0; i < n; i++)
		SetLatch(latch[i]);
}
