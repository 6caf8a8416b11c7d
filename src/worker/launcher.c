#include "postgres.h"

#include "worker/launcher.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "pg/settings.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/shipper.h"

#define BEAT_MS 10000
#define BACKOFF_FIRST_US ((int64) 200000)
#define BACKOFF_MAX_US ((int64) 30000000)

/* A worker that lived this long was not a failed start. */
#define STEADY_US ((int64) 10000000)
#define PROBES_AT_ONCE 2

/* Handles live in this process: after its restart the slots' states speak for themselves. */
static BackgroundWorkerHandle *handles[SMEM_MAX_DATABASES][SMEM_SINKS];
static BackgroundWorkerHandle *probes[SMEM_MAX_DATABASES];
static bool slots_reported = false;

static void
fill_worker(BackgroundWorker *worker, const char *function, const char *name, Datum arg, const char *datname)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "somamem", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_extra, datname, BGW_EXTRALEN);
	worker->bgw_main_arg = arg;
	worker->bgw_notify_pid = MyProcPid;
}

void
smem_launcher_register(void)
{
	BackgroundWorker worker;

	fill_worker(&worker, "smem_launcher_main", "somamem launcher", (Datum) 0, "");
	worker.bgw_restart_time = 1;
	worker.bgw_notify_pid = 0;
	RegisterBackgroundWorker(&worker);
}

static BackgroundWorkerHandle *
start_worker(const char *function, const char *name, Datum arg, const char *datname)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle = NULL;
	MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);

	fill_worker(&worker, function, name, arg, datname);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		handle = NULL;
		if (!slots_reported)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start \"%s\": no background worker slot is free", name),
					 errhint("Raise max_worker_processes.")));
		slots_reported = true;
	}
	else
		slots_reported = false;
	MemoryContextSwitchTo(outer);
	return handle;
}

bool
smem_sink_is_first(SmemSink sink)
{
	for (int other = 0; other < sink; other++)
	{
		if (smem_sink_enabled(other))
			return false;
	}
	return true;
}

/* Lists databases that may be connected to: calls visit for each. */
static void
visit_databases(void (*visit) (Oid oid, const char *name))
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database db = (Form_pg_database) GETSTRUCT(tuple);

		if (db->datallowconn && !db->datistemplate)
			visit(db->oid, NameStr(db->datname));
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

/* Asks for a probe of a database that nothing is known of. */
static void
claim_unknown(Oid oid, const char *name)
{
	SmemDatabaseSlot *db;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	db = smem_database_claim(oid);
	if (db == NULL && !smem_shared->full_reported)
	{
		smem_shared->full_reported = true;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("somamem can serve no more than %d databases", SMEM_MAX_DATABASES)));
	}
	if (db != NULL && db->state == SMEM_DATABASE_FREE)
		db->state = SMEM_DATABASE_PROBE;
	else if (db != NULL && db->state == SMEM_DATABASE_PROBE && db->probe_pid != 0)
		db->probe_again = true;	/* its snapshot may be older than the extension */
	LWLockRelease(smem_shared->lock);
}

/* What this turn wants of the slots, by database; workers are stopped and started from it. */
static struct
{
	Oid			oid;
	char		name[NAMEDATALEN];
}			known[SMEM_MAX_DATABASES];
static int	nknown;

static void
note_known(Oid oid, const char *name)
{
	SmemDatabaseSlot *db;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	db = smem_database_find(oid);
	LWLockRelease(smem_shared->lock);
	if (db == NULL || nknown == SMEM_MAX_DATABASES)
		return;
	known[nknown].oid = oid;
	strlcpy(known[nknown++].name, name, NAMEDATALEN);
}

static const char *
known_name(Oid oid)
{
	for (int i = 0; i < nknown; i++)
	{
		if (known[i].oid == oid)
			return known[i].name;
	}
	return NULL;
}

static void
schedule_restart(SmemSinkSlot *slot, TimestampTz now)
{
	int64		pause = BACKOFF_FIRST_US;

	if (slot->started_at != 0 && now - slot->started_at > STEADY_US)
		slot->failures = 0;
	slot->started_at = 0;
	for (int i = 0; i < slot->failures && pause < BACKOFF_MAX_US; i++)
		pause *= 2;
	slot->failures++;
	slot->state = SMEM_WORKER_BACKOFF;
	slot->restart_at = now + Min(pause, BACKOFF_MAX_US);
	slot->pid = 0;
	slot->latch = NULL;
}

static bool
worker_is_gone(BackgroundWorkerHandle **handle)
{
	pid_t		pid;

	if (*handle == NULL || GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(*handle);
	*handle = NULL;
	return true;
}

/* One database and sink: notices its end, stops it when unwanted, starts it when due.  Lock held exclusive. */
static void
tend_sink(int index, SmemSink sink, const char *datname, TimestampTz now)
{
	SmemDatabaseSlot *db = &smem_shared->database[index];
	SmemSinkSlot *slot = &db->sink[sink];
	bool		wanted = db->state == SMEM_DATABASE_ACTIVE && datname != NULL &&
		smem_sink_enabled(sink) && smem_database_wanted(datname);

	if (worker_is_gone(&handles[index][sink]) &&
		(slot->state == SMEM_WORKER_STARTING || slot->state == SMEM_WORKER_RUNNING))
		schedule_restart(slot, now);
	if (!wanted)
	{
		if (slot->state == SMEM_WORKER_RUNNING && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		else if (slot->state == SMEM_WORKER_BACKOFF)
			slot->state = SMEM_WORKER_STOPPED;
		return;
	}
	if (handles[index][sink] != NULL || slot->state == SMEM_WORKER_RUNNING ||
		(slot->state == SMEM_WORKER_BACKOFF && now < slot->restart_at))
		return;
	slot->state = SMEM_WORKER_STARTING;
	handles[index][sink] = start_worker("smem_shipper_main",
										sink == SMEM_SINK_SOMABRAIN ? "somamem shipper somabrain" : "somamem shipper kafka",
										Int32GetDatum(index * SMEM_SINKS + sink), datname);
	if (handles[index][sink] == NULL)
	{
		schedule_restart(slot, now);
		strlcpy(slot->last_error, "no background worker slot is free (see max_worker_processes)", SMEM_ERROR_LEN);
	}
}

static void
tend_probe(int index, const char *datname, int *running)
{
	SmemDatabaseSlot *db = &smem_shared->database[index];

	if (worker_is_gone(&probes[index]) && db->state == SMEM_DATABASE_PROBE && db->probe_pid != 0)
	{
		/* It could not even connect: the next scan finds the database again, if it is still there. */
		db->state = SMEM_DATABASE_FREE;
		db->probe_pid = 0;
	}
	if (probes[index] != NULL)
		(*running)++;
	if (db->state != SMEM_DATABASE_PROBE || probes[index] != NULL || *running >= PROBES_AT_ONCE)
		return;
	if (datname == NULL)
	{
		db->state = SMEM_DATABASE_FREE;
		return;
	}
	db->probe_pid = -1;
	probes[index] = start_worker("smem_probe_main", "somamem probe", Int32GetDatum(index), datname);
	if (probes[index] == NULL)
		db->probe_pid = 0;
	else
		(*running)++;
}

static bool
process_lives(int pid)
{
	return pid != 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* A backend that quiesced a database and died before it said how that ended. */
static void
end_stale_quiesce(SmemDatabaseSlot *db)
{
	if (db->state == SMEM_DATABASE_QUIESCED && !process_lives(db->quiesce_pid))
	{
		db->state = SMEM_DATABASE_PROBE;
		db->quiesce_pid = 0;
	}
}

/* Returns how long to sleep. */
static long
tend_all(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = BEAT_MS;
	int			probing = 0;

	nknown = 0;
	visit_databases(note_known);
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i];
		const char *datname;

		if (db->state == SMEM_DATABASE_FREE && handles[i][0] == NULL && handles[i][1] == NULL && probes[i] == NULL)
			continue;
		end_stale_quiesce(db);
		datname = known_name(db->oid);
		if (datname == NULL && db->state == SMEM_DATABASE_ACTIVE)
			db->state = SMEM_DATABASE_FREE;
		tend_probe(i, datname, &probing);
		for (int sink = 0; sink < SMEM_SINKS; sink++)
		{
			tend_sink(i, sink, datname, now);
			if (db->sink[sink].state == SMEM_WORKER_BACKOFF)
				timeout = Min(timeout, Max(1, (db->sink[sink].restart_at - now + 999) / 1000));
		}
	}
	LWLockRelease(smem_shared->lock);
	return timeout;
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	smem_shared->launcher_pid = 0;
	smem_shared->launcher_latch = NULL;
	LWLockRelease(smem_shared->lock);
}

/* Workers that an earlier launcher started go on; those that never attached are started again. */
static void
adopt(void)
{
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	smem_shared->launcher_pid = MyProcPid;
	smem_shared->launcher_latch = MyLatch;
	pg_atomic_write_u32(&smem_shared->rescan, 1);
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		for (int sink = 0; sink < SMEM_SINKS; sink++)
		{
			SmemSinkSlot *slot = &smem_shared->database[i].sink[sink];

			if (slot->state == SMEM_WORKER_STARTING)
				slot->state = SMEM_WORKER_STOPPED;
		}
	}
	LWLockRelease(smem_shared->lock);
}

void
smem_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(leave, 0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	adopt();
	for (;;)
	{
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (pg_atomic_exchange_u32(&smem_shared->rescan, 0) != 0)
			visit_databases(claim_unknown);
		timeout = tend_all();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* Looks whether the extension is there, tells, and ends. */
void
smem_probe_main(Datum arg)
{
	SmemDatabaseSlot *db = &smem_shared->database[DatumGetInt32(arg)];
	bool		exists;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(db->oid, InvalidOid, 0);
	StartTransactionCommand();
	exists = OidIsValid(smem_extension_oid());
	CommitTransactionCommand();
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (db->oid == MyDatabaseId && db->state == SMEM_DATABASE_PROBE)
		db->state = exists ? SMEM_DATABASE_ACTIVE : db->probe_again ? SMEM_DATABASE_PROBE : SMEM_DATABASE_FREE;
	if (exists)
		pg_atomic_write_u32(&db->segment, 0);
	db->probe_again = false;
	db->probe_pid = 0;
	LWLockRelease(smem_shared->lock);
	smem_wake_launcher();
	proc_exit(0);
}

bool
smem_slot_attach(SmemDatabaseSlot *db, SmemSink sink)
{
	SmemSinkSlot *slot = &db->sink[sink];
	bool		wanted;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	wanted = db->state == SMEM_DATABASE_ACTIVE && slot->pid == 0;
	if (wanted)
	{
		slot->state = SMEM_WORKER_RUNNING;
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->started_at = GetCurrentTimestamp();
		slot->last_error[0] = '\0';
		pg_atomic_write_u32(&slot->woken, 1);
	}
	LWLockRelease(smem_shared->lock);
	return wanted;
}

void
smem_slot_detach(SmemDatabaseSlot *db, SmemSink sink, bool clean, bool extension_gone)
{
	SmemSinkSlot *slot = &db->sink[sink];

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
	{
		schedule_restart(slot, GetCurrentTimestamp());
		slot->courier_pid = 0;
		if (clean)
			slot->state = SMEM_WORKER_STOPPED;
	}
	if (extension_gone && db->state == SMEM_DATABASE_ACTIVE)
		db->state = SMEM_DATABASE_PROBE;
	LWLockRelease(smem_shared->lock);
	ConditionVariableBroadcast(&db->delivered);
	smem_wake_launcher();
}
