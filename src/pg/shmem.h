/*
 * What sessions, workers and the launcher share.
 *
 * One slot per database that has the extension, in it one per sink.  Slots
 * are claimed and released under SmemShared.lock (exclusive); whoever reads a
 * slot's identity (oid, pid, latch) holds it shared.  Figures are atomics and
 * need no lock: each is written by its sink's shipper alone, but for those
 * that committing sessions write (committed, unseen_since, woken, levers, try_now).
 * last_error is written and read under the lock.  The policy worker and the
 * web worker, of which there is one each, have slots of their own; the circuit
 * is open while nobody could answer a session, or an address is not served.
 *
 * The memory is empty after a crash restart; every figure is built again by
 * the shipper that attaches.
 */
#ifndef SMEM_PG_SHMEM_H
#define SMEM_PG_SHMEM_H

#include "core/frame.h"
#include "core/sink.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define SMEM_MAX_DATABASES 64
#define SMEM_ERROR_LEN 256
#define SMEM_SEGMENTS 8

typedef enum SmemWorkerState
{
	/* No process, and none wanted yet. */
	SMEM_WORKER_STOPPED = 0,
	/* Registered with the postmaster, not yet running. */
	SMEM_WORKER_STARTING,
	/* Attached: pid and latch are valid. */
	SMEM_WORKER_RUNNING,
	/* Exited by itself or killed; the launcher starts it again at restart_at. */
	SMEM_WORKER_BACKOFF
} SmemWorkerState;

typedef struct SmemSinkSlot
{
	/* identity, under SmemShared.lock */
	SmemWorkerState state;
	pid_t			pid;
	pid_t			courier_pid;
	Latch		   *latch; /* the shipper's process latch, lives in shared memory */
	TimestampTz		started_at;
	TimestampTz		restart_at;
	int				failures; /* exits in a row that were too quick */
	char			last_error[SMEM_ERROR_LEN];

	/* written by committing sessions */
	pg_atomic_uint32 woken; /* 1: the latch was set and no snapshot was taken since */
	pg_atomic_uint64
		unseen_since;		  /* TimestampTz of the first commit since the last snapshot, or 0 */
	pg_atomic_uint32 levers;  /* 1: sink_state or parked was changed and not read since */
	pg_atomic_uint32 try_now; /* 1: and the courier shall forget its pauses */

	/* written by the shipper */
	pg_atomic_uint64 done;			 /* of SmemDatabaseSlot.committed, how many need nothing more */
	pg_atomic_uint64 oldest_pending; /* TimestampTz, or 0 */
	pg_atomic_uint64 last_success;	 /* TimestampTz, or 0 */
	pg_atomic_uint64 beat;			 /* TimestampTz of its last turn */
	pg_atomic_uint32 parked;
	pg_atomic_uint32 dead;
	pg_atomic_uint32 paused;  /* 1: by an operator */
	pg_atomic_uint32 news;	  /* Kafka: 1 when a dead letter of either sink is to be told of */
	pg_atomic_uint32 circuit; /* SmemCircuit */
	pg_atomic_uint64 retries; /* attempts beyond the first */
	pg_atomic_uint64 deaths;  /* rows that became dead letters */
	pg_atomic_uint32 counted; /* 1: what was pending when the server started is in the figures */
	pg_atomic_uint64
		recorded_high; /* greatest id that was recorded, as delivered or dead; 0: not known */
} SmemSinkSlot;

typedef enum SmemDatabaseState
{
	SMEM_DATABASE_FREE = 0,
	/* A probe shall look, or is looking, whether the extension is there. */
	SMEM_DATABASE_PROBE,
	/* It has the extension. */
	SMEM_DATABASE_ACTIVE,
	/* Somebody drops or renames it, or changes what its workers rely on: none may run. */
	SMEM_DATABASE_QUIESCED
} SmemDatabaseState;

/* Whether the last minute's writes of an earlier life of the server are counted (policy/seed.h). */
typedef enum SmemSeed
{
	SMEM_SEED_NONE = 0,
	SMEM_SEED_RUNS,
	SMEM_SEED_DONE
} SmemSeed;

typedef struct SmemDatabaseSlot
{
	Oid				  oid;
	char			  name[NAMEDATALEN]; /* as the launcher last found it; under SmemShared.lock */
	SmemDatabaseState state;
	bool			  has_extension;  /* as last found, also while no worker may run */
	pid_t			  probe_pid;	  /* -1: registered, not yet running */
	TimestampTz		  probe_at;		  /* not before */
	int				  probe_failures; /* probes in a row that did not get so far as to look */
	bool			  probe_again;	  /* asked for while a probe was looking already */
	int				  quiesce_pid;	  /* backend that asked for QUIESCED */
	pg_atomic_uint32  segment;		  /* segment that writers append to, plus one; 0: not known */
	pg_atomic_uint64
		committed; /* rows committed, plus what was pending when the first shipper attached */
	ConditionVariable delivered; /* a page was recorded */
	pg_atomic_uint32  seeded;	 /* SmemSeed */
	ConditionVariable seeding;	 /* that has changed */
	SmemSinkSlot	  sink[SMEM_SINKS];
} SmemDatabaseSlot;

typedef struct SmemShared
{
	LWLock			*lock;
	pid_t			 launcher_pid;
	Latch			*launcher_latch;
	pg_atomic_uint32 rescan;		/* the launcher shall look for databases again */
	pg_atomic_uint32 settled;		/* 1: every database was looked at since the server started */
	bool			 full_reported; /* more databases than slots, said once */
	SmemSinkSlot	 policy;		/* the policy worker: identity, last_error, circuit, beat */
	SmemSinkSlot	 web;			/* the web worker: the same */
	SmemDatabaseSlot database[SMEM_MAX_DATABASES];
} SmemShared;

/* NULL where the library was not preloaded. */
extern SmemShared *smem_shared;

extern void smem_shmem_install(void);

/* Raises 55000 unless the library was preloaded. */
extern void smem_require_preload(void);

/* This database's slot, or NULL.  The pointer stays valid for the life of the server. */
extern SmemDatabaseSlot *smem_my_database(void);

/* The slot of a database, claimed when there is none; NULL when all are taken.  Lock held exclusive. */
extern SmemDatabaseSlot *smem_database_claim(Oid oid);
extern SmemDatabaseSlot *smem_database_find(Oid oid);

/*
 * Whether the database in the slot has the extension; then its name, of
 * NAMEDATALEN bytes.  Also while somebody keeps its workers away: its figures
 * do not go and come back.
 */
extern bool smem_database_served(SmemDatabaseSlot *db, char *name);

/* Workers may come back to every database that this process set to SMEM_DATABASE_QUIESCED. */
extern void smem_database_release_all(void);

/* Something was committed that no shipper has looked at yet. */
extern void smem_note_unseen(SmemDatabaseSlot *db, TimestampTz at);

/* Wakes the launcher, or the shippers of a database (coalesced unless forced). */
extern void smem_wake_launcher(void);
extern void smem_wake_shippers(SmemDatabaseSlot *db, bool force);

#endif
