#include "postgres.h"

#include "worker/launcher.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "pg/figures.h"
#include "pg/meter.h"
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
#include "worker/clock.h"
#include "worker/shipper.h"
#include "worker/slot.h"
#include "worker/start.h"

#define BEAT_MS 10000
#define PROBES_AT_ONCE 2
#define PROBE_SLOT_PAUSE_US ((int64) 5000000)
#define PROBE_PAUSE_US ((int64) 1000000)
#define PROBE_PAUSE_MAX_US ((int64) 300000000)

/* Handles live in this process: after its restart the slots' states speak for themselves. */
static BackgroundWorkerHandle *handles[SMEM_MAX_DATABASES][SMEM_SINKS];
static BackgroundWorkerHandle *probes[SMEM_MAX_DATABASES];
static BackgroundWorkerHandle *policy;
static BackgroundWorkerHandle *web;

/* Once for a whole episode: for a sink, its slot remembers; for probes, this does. */
static const char NO_SLOT[] = "no background worker slot is free (see max_worker_processes)";
static bool		  probes_reported = false;

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
visit_databases(void (*visit)(Oid oid, const char *name))
{
	Relation	  rel;
	TableScanDesc scan;
	HeapTuple	  tuple;

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

/* Databases that the last scan found and that are not claimed yet: there may be more than slots. */
static Oid *unclaimed;
static int	nunclaimed;
static int	unclaimed_size;

static void
note_unclaimed(Oid oid, const char *name)
{
	if (nunclaimed == unclaimed_size)
	{
		int size = Max(64, unclaimed_size * 2);

		unclaimed = unclaimed == NULL ? MemoryContextAlloc(TopMemoryContext, size * sizeof(Oid))
									  : repalloc(unclaimed, size * sizeof(Oid));
		unclaimed_size = size;
	}
	unclaimed[nunclaimed++] = oid;
}

/* Asks for a probe of a database that nothing is known of; false while no slot is free.  Lock held exclusive. */
static bool
claim_unknown(Oid oid)
{
	SmemDatabaseSlot *db = smem_database_claim(oid);

	if (db == NULL)
		return false;
	if (db->state == SMEM_DATABASE_FREE)
		db->state = SMEM_DATABASE_PROBE;
	else if (db->state == SMEM_DATABASE_PROBE && db->probe_pid != 0)
		db->probe_again = true; /* its snapshot may be older than the extension */
	db->probe_at = 0;
	return true;
}

/* Whether every slot is taken by a database that has the extension.  Lock held. */
static bool
all_served(void)
{
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		if (smem_shared->database[i].state == SMEM_DATABASE_FREE ||
			smem_shared->database[i].state == SMEM_DATABASE_PROBE)
			return false;
	}
	return true;
}

static void
claim_databases(void)
{
	bool full;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	while (nunclaimed > 0 && claim_unknown(unclaimed[nunclaimed - 1]))
		nunclaimed--;
	full = nunclaimed > 0 && !smem_shared->full_reported && all_served();
	if (full)
		smem_shared->full_reported = true;
	LWLockRelease(smem_shared->lock);
	if (full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("somamem can serve no more than %d databases", SMEM_MAX_DATABASES)));
}

/* What this turn wants of the slots, by database; workers are stopped and started from it. */
static struct
{
	Oid	 oid;
	char name[NAMEDATALEN];
} known[SMEM_MAX_DATABASES];
static int nknown;

static void
note_known(Oid oid, const char *name)
{
	SmemDatabaseSlot *db;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	db = smem_database_find(oid);
	if (db != NULL)
		strlcpy(db->name, name, NAMEDATALEN);
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

static bool
worker_is_gone(BackgroundWorkerHandle **handle)
{
	pid_t pid;

	if (*handle == NULL || GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(*handle);
	*handle = NULL;
	return true;
}

static bool
process_lives(int pid)
{
	return pid != 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

/*
 * Notices the end of a worker that this launcher started.  It may have ended
 * because one that an earlier launcher started was there already: that one
 * keeps its place.
 */
static void
note_end(SmemSinkSlot *slot, BackgroundWorkerHandle **handle, TimestampTz now)
{
	if (!worker_is_gone(handle))
		return;
	if (slot->state == SMEM_WORKER_STARTING ||
		(slot->state == SMEM_WORKER_RUNNING && !process_lives(slot->pid)))
		smem_slot_back_off(slot, now);
}

/* One place: stops its worker when unwanted; true when one is due to be started.  Lock held exclusive. */
static bool
review_slot(SmemSinkSlot *slot, BackgroundWorkerHandle **handle, bool wanted, TimestampTz now)
{
	note_end(slot, handle, now);
	if (!wanted)
	{
		if (slot->state == SMEM_WORKER_RUNNING && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		else if (slot->state == SMEM_WORKER_BACKOFF)
		{
			slot->state = SMEM_WORKER_STOPPED;
			slot->last_error[0] = '\0';
		}
		return false;
	}
	if (*handle != NULL || slot->state == SMEM_WORKER_RUNNING || !smem_slot_may_start(slot, now))
		return false;
	slot->state = SMEM_WORKER_STARTING;
	return true;
}

/* The outcome of a start, where one was due; returns how long the place may be left alone. */
static long
note_start(SmemSinkSlot *slot, bool failed, TimestampTz now)
{
	long timeout = BEAT_MS;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (failed && slot->state == SMEM_WORKER_STARTING)
	{
		smem_slot_back_off(slot, now);
		strlcpy(slot->last_error, NO_SLOT, SMEM_ERROR_LEN);
	}
	if (slot->state == SMEM_WORKER_BACKOFF)
		timeout = Max(1, (slot->restart_at - now + 999) / 1000);
	LWLockRelease(smem_shared->lock);
	return timeout;
}

static long
tend_sink(int index, SmemSink sink, const char *datname, TimestampTz now)
{
	static const char *const names[SMEM_SINKS] = {
		[SMEM_SINK_SOMABRAIN] = "somamem shipper somabrain",
		[SMEM_SINK_KAFKA] = "somamem shipper kafka",
	};
	SmemDatabaseSlot		*db = &smem_shared->database[index];
	SmemSinkSlot			*slot = &db->sink[sink];
	BackgroundWorkerHandle **handle = &handles[index][sink];
	bool					 reported;
	bool					 due;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	due = review_slot(slot, handle,
					  db->state == SMEM_DATABASE_ACTIVE && datname != NULL &&
						  smem_sink_enabled(sink) && smem_database_wanted(datname),
					  now);
	reported = strcmp(slot->last_error, NO_SLOT) == 0;
	if (slot->pid == 0 && !due && !smem_sink_enabled(sink))
		smem_meter_sink_off(db, sink);
	LWLockRelease(smem_shared->lock);
	if (due)
		*handle = smem_worker_start("smem_shipper_main", names[sink],
									Int32GetDatum(index * SMEM_SINKS + sink), datname, reported);
	return note_start(slot, due && *handle == NULL, now);
}

/* A worker without a database, of which there is one. */
static long
tend_attendant(SmemSinkSlot *slot, BackgroundWorkerHandle **handle, bool wanted,
			   const char *function, const char *name, TimestampTz now)
{
	bool reported;
	bool due;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	due = review_slot(slot, handle, wanted, now);
	reported = strcmp(slot->last_error, NO_SLOT) == 0;
	LWLockRelease(smem_shared->lock);
	if (due)
		*handle = smem_worker_start(function, name, (Datum) 0, NULL, reported);
	return note_start(slot, due && *handle == NULL, now);
}

static long
tend_attendants(TimestampTz now)
{
	long policy_timeout =
		tend_attendant(&smem_shared->policy, &policy, smem_guc_policy == SMEM_ENGINE_OPA,
					   "smem_policy_main", "somamem policy", now);
	long web_timeout = tend_attendant(&smem_shared->web, &web, smem_web_wanted(), "smem_web_main",
									  "somamem web", now);

	return Min(policy_timeout, web_timeout);
}

/* A probe that ended without having looked is repeated after a while.  Lock held exclusive. */
static void
put_off_probe(SmemDatabaseSlot *db, TimestampTz now)
{
	db->probe_pid = 0;
	db->probe_at = now + Min(PROBE_PAUSE_US << Min(db->probe_failures, 16), PROBE_PAUSE_MAX_US);
	db->probe_failures++;
}

/* What the database needs itself; true when a probe is due to be started.  Lock held exclusive. */
static bool
review_database(int index, const char *datname, TimestampTz now)
{
	SmemDatabaseSlot *db = &smem_shared->database[index];

	/* A backend that quiesced it and died before it said how that ended. */
	if (db->state == SMEM_DATABASE_QUIESCED && !process_lives(db->quiesce_pid))
	{
		db->state = SMEM_DATABASE_PROBE;
		db->quiesce_pid = 0;
	}
	if (datname == NULL && db->state == SMEM_DATABASE_ACTIVE)
		db->state = SMEM_DATABASE_FREE;
	if (worker_is_gone(&probes[index]) && db->state == SMEM_DATABASE_PROBE && db->probe_pid != 0)
		put_off_probe(db, now);
	if (db->state != SMEM_DATABASE_PROBE || probes[index] != NULL)
		return false;
	if (datname == NULL)
	{
		db->state = SMEM_DATABASE_FREE;
		return false;
	}
	return smem_clock_is_due(db->probe_at, now, PROBE_PAUSE_MAX_US);
}

/* Returns how long the database may be left alone, its sinks apart. */
static long
tend_database(int index, const char *datname, TimestampTz now, int *probing)
{
	SmemDatabaseSlot *db = &smem_shared->database[index];
	bool			  due;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	due = review_database(index, datname, now) && *probing < PROBES_AT_ONCE;
	if (due)
		db->probe_pid = -1;
	LWLockRelease(smem_shared->lock);
	if (due)
	{
		probes[index] = smem_worker_start("smem_probe_main", "somamem probe", Int32GetDatum(index),
										  datname, probes_reported);
		probes_reported = probes[index] == NULL;
		if (probes[index] == NULL)
		{
			LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
			db->probe_pid = 0;
			db->probe_at = now + PROBE_SLOT_PAUSE_US;
			LWLockRelease(smem_shared->lock);
		}
	}
	if (probes[index] != NULL)
		(*probing)++;
	if (db->state == SMEM_DATABASE_PROBE && db->probe_at > now)
		return Max(1, (db->probe_at - now + 999) / 1000);
	return BEAT_MS;
}

/* Whether nothing is left to find out: what nobody knows yet may have rows that wait. */
static void
note_settled(void)
{
	bool settled = nunclaimed == 0 || smem_shared->full_reported;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	for (int i = 0; i < SMEM_MAX_DATABASES && settled; i++)
		settled = smem_shared->database[i].state != SMEM_DATABASE_PROBE;
	LWLockRelease(smem_shared->lock);
	if (settled)
		pg_atomic_write_u32(&smem_shared->settled, 1);
}

/* Returns how long to sleep. */
static long
tend_all(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = BEAT_MS;
	int			probing = 0;

	timeout = Min(timeout, tend_attendants(now));
	smem_figures_judge(now);
	claim_databases();
	nknown = 0;
	visit_databases(note_known);
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i];
		const char		 *datname;

		if (db->state == SMEM_DATABASE_FREE && handles[i][0] == NULL && handles[i][1] == NULL &&
			probes[i] == NULL)
			continue;
		datname = known_name(db->oid);
		timeout = Min(timeout, tend_database(i, datname, now, &probing));
		for (int sink = 0; sink < SMEM_SINKS; sink++)
			timeout = Min(timeout, tend_sink(i, sink, datname, now));
	}
	if (pg_atomic_read_u32(&smem_shared->settled) == 0)
		note_settled();
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
	if (smem_shared->policy.state == SMEM_WORKER_STARTING)
		smem_shared->policy.state = SMEM_WORKER_STOPPED;
	if (smem_shared->web.state == SMEM_WORKER_STARTING)
		smem_shared->web.state = SMEM_WORKER_STOPPED;
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
		long timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (pg_atomic_exchange_u32(&smem_shared->rescan, 0) != 0)
		{
			nunclaimed = 0;
			visit_databases(note_unclaimed);
		}
		timeout = tend_all();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* Looks whether the extension is there, tells, and ends. */
void
smem_probe_main(Datum arg)
{
	SmemDatabaseSlot *db = &smem_shared->database[DatumGetInt32(arg)];
	bool			  exists;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(db->oid, InvalidOid, 0);
	StartTransactionCommand();
	exists = OidIsValid(smem_extension_oid());
	CommitTransactionCommand();
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (db->oid == MyDatabaseId && db->state == SMEM_DATABASE_PROBE)
		db->state = exists			  ? SMEM_DATABASE_ACTIVE
					: db->probe_again ? SMEM_DATABASE_PROBE
									  : SMEM_DATABASE_FREE;
	db->has_extension = exists;
	if (exists)
		pg_atomic_write_u32(&db->segment, 0);
	db->probe_again = false;
	db->probe_failures = 0;
	db->probe_pid = 0;
	LWLockRelease(smem_shared->lock);
	smem_wake_launcher();
	proc_exit(0);
}
