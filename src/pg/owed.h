/*
 * How many rows a sink is still owed, tenant by tenant, in shared memory.
 *
 * Sessions add at commit, shippers subtract when a row needs nothing more;
 * both with atomics.  Tenants beyond somamem.metrics_tenants have no place:
 * their rows are what is left of the sink's own figure, so that the sum is
 * always right.  A tenant of whom nothing is owed, and who has not written for
 * a while, makes room for another.
 *
 * Figures may be off for a moment, or for long where rows went ways that
 * nobody counts (PREPARE TRANSACTION, erase): the shipper puts them right.
 */
#ifndef SMEM_PG_OWED_H
#define SMEM_PG_OWED_H

#include "pg/shmem.h"

#define SMEM_OWED_NAME 256

typedef struct SmemOwedSink
{
	pg_atomic_uint64 done;
	pg_atomic_uint64 since;	 /* TimestampTz: nothing older is owed, as far as sessions know; or 0 */
	pg_atomic_uint64 oldest; /* TimestampTz of the oldest row that the shipper holds, or 0 */
} SmemOwedSink;

typedef struct SmemOwed
{
	/* under the table's lock */
	Oid	 database;
	char tenant[SMEM_OWED_NAME + 1];

	pg_atomic_uint64 committed;
	pg_atomic_uint64 used_at; /* TimestampTz of the last commit */
	SmemOwedSink	 sink[SMEM_SINKS];
} SmemOwed;

extern Size smem_owed_size(void);
extern void smem_owed_start(LWLock *lock);

/* Places; those that are taken are found by smem_owed_at. */
extern int smem_owed_places(void);

/* The tenant at a place, if it is one of this database; its name is copied. */
extern SmemOwed *smem_owed_at(int place, Oid database, char *tenant);

/* The tenant's place and its key, which is 0 where it has no place; with create, it gets one if any is free. */
typedef struct SmemOwedRef
{
	uint64 key;
	int	   place;
} SmemOwedRef;

extern SmemOwedRef smem_owed_find(Oid database, SmemStr tenant, bool create);

/* The tenant gives its place back, and its name goes. */
extern void smem_owed_forget(Oid database, SmemStr tenant);

/* NULL where the place has gone to another tenant since. */
extern SmemOwed *smem_owed_get(SmemOwedRef ref);

extern void smem_owed_committed(SmemOwedRef ref, uint64 rows, TimestampTz now);

/* The rows need nothing more at the sink, or, where rows is negative, need it again. */
extern void smem_owed_done(SmemOwedRef ref, SmemSink sink, int64 rows);

/* The shipper's word on a tenant: what it knows to be owed (as a correction), and the oldest of what it holds. */
extern void smem_owed_correct(SmemOwed *owed, SmemSink sink, int64 rows);

/* oldest 0: it holds nothing of the tenant, and has read all that is older than head. */
extern void smem_owed_publish(SmemOwed *owed, SmemSink sink, TimestampTz oldest, TimestampTz head);

/* Rows owed now, never less than 0, and since when: 0 where there are none. */
extern int64 smem_owed_rows(SmemOwed *owed, SmemSink sink, TimestampTz *oldest);

#endif
