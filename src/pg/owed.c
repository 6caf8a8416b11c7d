#include "postgres.h"

#include "pg/owed.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "pg/settings.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* A key stands in one of so many places in a row; with half of them free, one is all but sure to be found. */
#define PROBES 16

/* A place is not taken from who wrote so lately, nor is it looked for one so soon again. */
#define IDLE_US ((int64) 60000000)
#define FULL_PAUSE_US ((int64) 1000000)

typedef struct Table
{
	LWLock			*lock; /* exclusive to give a place to a tenant, shared to read its name */
	int				 places;
	uint64			 seed;
	pg_atomic_uint32 taken;
	pg_atomic_uint64 full_at; /* TimestampTz at which no place was free, or 0 */
} Table;

static Table			*table;
static pg_atomic_uint64 *keys;
static SmemOwed			*owed_rows;

static int
count_places(void)
{
	return smem_guc_metrics_tenants * 2 + PROBES;
}

Size
smem_owed_size(void)
{
	Size places = (Size) count_places();

	return MAXALIGN(sizeof(Table)) + MAXALIGN(places * sizeof(pg_atomic_uint64)) +
		   MAXALIGN(places * sizeof(SmemOwed));
}

static void
init_place(SmemOwed *owed)
{
	owed->database = InvalidOid;
	memset(owed->tenant, 0, sizeof(owed->tenant));
	pg_atomic_init_u64(&owed->committed, 0);
	pg_atomic_init_u64(&owed->used_at, 0);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		pg_atomic_init_u64(&owed->sink[sink].done, 0);
		pg_atomic_init_u64(&owed->sink[sink].since, 0);
		pg_atomic_init_u64(&owed->sink[sink].oldest, 0);
	}
}

void
smem_owed_start(LWLock *lock)
{
	bool found;
	Size places = (Size) count_places();
	bool any;

	table = ShmemInitStruct("somamem owed", sizeof(Table), &found);
	keys = ShmemInitStruct("somamem owed keys", places * sizeof(pg_atomic_uint64), &any);
	owed_rows = ShmemInitStruct("somamem owed rows", places * sizeof(SmemOwed), &any);
	if (found)
		return;
	table->lock = lock;
	table->places = (int) places;
	table->seed = pg_prng_uint64(&pg_global_prng_state);
	pg_atomic_init_u32(&table->taken, 0);
	pg_atomic_init_u64(&table->full_at, 0);
	for (Size i = 0; i < places; i++)
	{
		pg_atomic_init_u64(&keys[i], 0);
		init_place(&owed_rows[i]);
	}
}

int
smem_owed_places(void)
{
	return table->places;
}

static uint64
make_key(Oid database, SmemStr tenant)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) tenant.data, (int) tenant.len,
									  table->seed ^ database);

	return hash != 0 ? hash : 1;
}

static int
first_place(uint64 key)
{
	return (int) (key % (uint64) (table->places - PROBES + 1));
}

static int
find_key(uint64 key, uint64 wanted)
{
	int first = first_place(key);

	for (int i = first; i < first + PROBES; i++)
	{
		if (pg_atomic_read_u64(&keys[i]) == wanted)
			return i;
	}
	return -1;
}

/* A sink that is off is owed nothing that anybody waits for. */
static bool enabled[SMEM_SINKS];

static bool
is_idle(SmemOwed *owed, TimestampTz now)
{
	TimestampTz oldest;

	if (now - (TimestampTz) pg_atomic_read_u64(&owed->used_at) < IDLE_US)
		return false;
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		if (enabled[sink] && smem_owed_rows(owed, sink, &oldest) > 0)
			return false;
	}
	return true;
}

static int
find_idle(uint64 key, TimestampTz now)
{
	int first = first_place(key);

	for (int i = first; i < first + PROBES; i++)
	{
		if (pg_atomic_read_u64(&keys[i]) != 0 && is_idle(&owed_rows[i], now))
			return i;
	}
	return -1;
}

/* Gives places back whose tenants are idle; whether one was.  Lock held exclusive. */
static bool
sweep(TimestampTz now)
{
	bool any = false;

	for (int i = 0; i < table->places; i++)
	{
		if (pg_atomic_read_u64(&keys[i]) == 0 || !is_idle(&owed_rows[i], now))
			continue;
		pg_atomic_write_u64(&keys[i], 0);
		init_place(&owed_rows[i]);
		pg_atomic_fetch_sub_u32(&table->taken, 1);
		any = true;
	}
	return any;
}

/* A place for another tenant, or -1.  Lock held exclusive. */
static int
choose_place(uint64 key, TimestampTz now)
{
	int place;

	if (pg_atomic_read_u32(&table->taken) >= (uint32) smem_guc_metrics_tenants && !sweep(now))
		return -1;
	place = find_key(key, 0);
	if (place >= 0)
		pg_atomic_fetch_add_u32(&table->taken, 1);
	else
		place = find_idle(key, now);
	return place;
}

static int
take_place(uint64 key, Oid database, SmemStr tenant, TimestampTz now)
{
	int place;

	for (int sink = 0; sink < SMEM_SINKS; sink++)
		enabled[sink] = smem_sink_enabled(sink);
	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	place = find_key(key, key);
	if (place < 0 && (place = choose_place(key, now)) >= 0)
	{
		pg_atomic_write_u64(&keys[place], 0);
		init_place(&owed_rows[place]);
		owed_rows[place].database = database;
		memcpy(owed_rows[place].tenant, tenant.data, tenant.len);
		owed_rows[place].tenant[tenant.len] = '\0';
		pg_atomic_write_u64(&owed_rows[place].used_at, (uint64) now);
		pg_write_barrier();
		pg_atomic_write_u64(&keys[place], key);
	}
	if (place < 0)
		pg_atomic_write_u64(&table->full_at, (uint64) now);
	LWLockRelease(table->lock);
	return place;
}

static bool
is_full(TimestampTz now)
{
	int64 since = now - (TimestampTz) pg_atomic_read_u64(&table->full_at);

	return since >= 0 && since < FULL_PAUSE_US;
}

SmemOwedRef
smem_owed_find(Oid database, SmemStr tenant, bool create)
{
	SmemOwedRef ref = {.key = make_key(database, tenant)};
	TimestampTz now;

	ref.place = find_key(ref.key, ref.key);
	if (ref.place < 0 && create && tenant.len <= SMEM_OWED_NAME)
	{
		now = GetCurrentTimestamp();
		if (!is_full(now))
			ref.place = take_place(ref.key, database, tenant, now);
	}
	if (ref.place < 0)
		ref.key = 0;
	return ref;
}

void
smem_owed_forget(Oid database, SmemStr tenant)
{
	uint64 key = make_key(database, tenant);
	int	   place;

	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	place = find_key(key, key);
	if (place >= 0)
	{
		pg_atomic_write_u64(&keys[place], 0);
		init_place(&owed_rows[place]);
		pg_atomic_fetch_sub_u32(&table->taken, 1);
	}
	LWLockRelease(table->lock);
}

SmemOwed *
smem_owed_get(SmemOwedRef ref)
{
	if (ref.key == 0 || pg_atomic_read_u64(&keys[ref.place]) != ref.key)
		return NULL;
	return &owed_rows[ref.place];
}

SmemOwed *
smem_owed_at(int place, Oid database, char *tenant)
{
	SmemOwed *owed = NULL;

	/* Without the lock first: most places are free, or another database's. */
	if (pg_atomic_read_u64(&keys[place]) == 0 || owed_rows[place].database != database)
		return NULL;
	LWLockAcquire(table->lock, LW_SHARED);
	if (pg_atomic_read_u64(&keys[place]) != 0 && owed_rows[place].database == database)
	{
		owed = &owed_rows[place];
		strlcpy(tenant, owed->tenant, SMEM_OWED_NAME + 1);
	}
	LWLockRelease(table->lock);
	return owed;
}

void
smem_owed_committed(SmemOwedRef ref, uint64 rows, TimestampTz now)
{
	SmemOwed *owed = smem_owed_get(ref);

	if (owed == NULL)
		return;
	pg_atomic_fetch_add_u64(&owed->committed, rows);
	pg_atomic_write_u64(&owed->used_at, (uint64) now);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		uint64 none = 0;

		if (pg_atomic_read_u64(&owed->sink[sink].since) == 0)
			pg_atomic_compare_exchange_u64(&owed->sink[sink].since, &none, (uint64) now);
	}
}

static int64
count_owed(SmemOwed *owed, SmemSink sink)
{
	return (int64) (pg_atomic_read_u64(&owed->committed) -
					pg_atomic_read_u64(&owed->sink[sink].done));
}

void
smem_owed_done(SmemOwedRef ref, SmemSink sink, int64 rows)
{
	SmemOwed *owed = smem_owed_get(ref);
	uint64	  since;

	if (owed == NULL)
		return;
	/* What was never counted for the tenant is not to be subtracted either. */
	if (rows > 0)
		rows = Min(rows, Max(0, count_owed(owed, sink)));
	since = pg_atomic_read_u64(&owed->sink[sink].since);
	pg_atomic_fetch_add_u64(&owed->sink[sink].done, rows);
	if (since != 0 && count_owed(owed, sink) <= 0)
		pg_atomic_compare_exchange_u64(&owed->sink[sink].since, &since, 0);
}

void
smem_owed_correct(SmemOwed *owed, SmemSink sink, int64 rows)
{
	pg_atomic_fetch_sub_u64(&owed->sink[sink].done, rows);
}

void
smem_owed_publish(SmemOwed *owed, SmemSink sink, TimestampTz oldest, TimestampTz head)
{
	pg_atomic_uint64 *since = &owed->sink[sink].since;
	uint64			  was = pg_atomic_read_u64(since);
	uint64			  to = count_owed(owed, sink) <= 0 ? 0 : (uint64) Max((int64) was, head);

	pg_atomic_write_u64(&owed->sink[sink].oldest, (uint64) oldest);
	if (oldest == 0 && was != to)
		pg_atomic_compare_exchange_u64(since, &was, to);
}

int64
smem_owed_rows(SmemOwed *owed, SmemSink sink, TimestampTz *oldest)
{
	int64 rows = Max(0, count_owed(owed, sink));

	*oldest = 0;
	if (rows > 0)
	{
		*oldest = (TimestampTz) pg_atomic_read_u64(&owed->sink[sink].oldest);
		if (*oldest == 0)
			*oldest = (TimestampTz) pg_atomic_read_u64(&owed->sink[sink].since);
	}
	return rows;
}
