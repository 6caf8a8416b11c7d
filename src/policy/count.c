#include "postgres.h"

#include "core/policy.h"
#include "policy/count.h"

#include <math.h>

#include "miscadmin.h"
#include "pg/shmem.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#define ENGINES 2 /* built in, OPA */

/* Half octaves from 128 ns on; the last one is from 137 s on. */
#define BUCKETS 62
#define FIRST_OCTAVE 7

typedef struct Cell
{
	pg_atomic_uint64 count;
	pg_atomic_uint32 bucket[BUCKETS];
} Cell;

typedef struct Counted
{
	/* whose the cells of a slot are: a slot may change hands */
	pg_atomic_uint32 owner[SMEM_MAX_DATABASES];

	/* the last one for databases without a slot */
	Cell cell[SMEM_MAX_DATABASES + 1][SMEM_POLICY_ROWS][SMEM_DECIDED][ENGINES];
} Counted;

static Counted *counted;

Size
smem_count_size(void)
{
	return MAXALIGN(sizeof(Counted));
}

static void
init_cell(Cell *cell)
{
	pg_atomic_init_u64(&cell->count, 0);
	for (int i = 0; i < BUCKETS; i++)
		pg_atomic_init_u32(&cell->bucket[i], 0);
}

void
smem_count_start(void)
{
	bool  found;
	Cell *cells;

	counted = ShmemInitStruct("somamem decisions", sizeof(Counted), &found);
	if (found)
		return;
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
		pg_atomic_init_u32(&counted->owner[i], InvalidOid);
	cells = (Cell *) counted->cell;
	for (Size i = 0; i < sizeof(counted->cell) / sizeof(Cell); i++)
		init_cell(&cells[i]);
}

static int
bucket_of(uint64 ns)
{
	int octave;
	int half;

	if (ns < (UINT64CONST(1) << FIRST_OCTAVE))
		return 0;
	octave = pg_leftmost_one_pos64(ns);
	half = (ns >> (octave - 1)) & 1;
	return Min(2 * (octave - FIRST_OCTAVE) + half, BUCKETS - 1);
}

/* The middle of a bucket, in milliseconds. */
static double
bucket_ms(int bucket)
{
	double octave = ldexp(1.0, FIRST_OCTAVE + bucket / 2);
	double from = octave * (bucket % 2 == 0 ? 1.0 : 1.5);
	double to = octave * (bucket % 2 == 0 ? 1.5 : 2.0);

	return (from + to) / 2 / 1000000.0;
}

static void
empty_cells(int place)
{
	Cell *cells = (Cell *) counted->cell[place];

	for (Size i = 0; i < sizeof(counted->cell[place]) / sizeof(Cell); i++)
	{
		pg_atomic_write_u64(&cells[i].count, 0);
		for (int k = 0; k < BUCKETS; k++)
			pg_atomic_write_u32(&cells[i].bucket[k], 0);
	}
}

/* What another database that had the slot has counted is not for this one to see. */
static void
take_over(int place)
{
	pg_atomic_uint32 *owner = &counted->owner[place];

	if (pg_atomic_read_u32(owner) == MyDatabaseId)
		return;
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u32(owner) != MyDatabaseId)
	{
		empty_cells(place);
		pg_atomic_write_u32(owner, MyDatabaseId);
	}
	LWLockRelease(smem_shared->lock);
}

static int
my_place(void)
{
	SmemDatabaseSlot *db = smem_my_database();
	int				  place;

	if (db == NULL)
		return SMEM_MAX_DATABASES;
	place = (int) (db - smem_shared->database);
	take_over(place);
	return place;
}

static Cell *
my_cell(int row, SmemVerdictKind decided, SmemEngine engine)
{
	return &counted->cell[my_place()][row][decided][engine == SMEM_ENGINE_OPA];
}

void
smem_count_decisions(int row, SmemVerdictKind decided, SmemEngine engine, uint32 n, uint64 ns)
{
	Cell *cell = my_cell(row, decided, engine);

	pg_atomic_fetch_add_u64(&cell->count, n);
	pg_atomic_fetch_add_u32(&cell->bucket[bucket_of(ns)], n);
}

/* The time that this share of the decisions did not exceed. */
static double
percentile(Cell *cell, uint64 count, double share)
{
	uint64 rank = (uint64) ceil((double) count * share);
	uint64 seen = 0;

	for (int i = 0; i < BUCKETS; i++)
	{
		seen += pg_atomic_read_u32(&cell->bucket[i]);
		if (seen >= rank)
			return bucket_ms(i);
	}
	return bucket_ms(BUCKETS - 1);
}

bool
smem_count_line(int line, SmemDecisions *decisions)
{
	Cell *cell;

	decisions->engine = line % ENGINES == 0 ? SMEM_ENGINE_BUILTIN : SMEM_ENGINE_OPA;
	decisions->decided = (SmemVerdictKind) (line / ENGINES % SMEM_DECIDED);
	decisions->row = line / ENGINES / SMEM_DECIDED;
	cell = my_cell(decisions->row, decisions->decided, decisions->engine);
	decisions->count = pg_atomic_read_u64(&cell->count);
	if (decisions->count == 0)
		return false;
	decisions->p50_ms = percentile(cell, decisions->count, 0.50);
	decisions->p99_ms = percentile(cell, decisions->count, 0.99);
	return true;
}

const char *
smem_engine_name(SmemEngine engine)
{
	static const char *const names[] = {"off", "builtin", "opa"};

	return names[engine];
}

const char *
smem_decided_name(SmemVerdictKind decided)
{
	static const char *const names[] = {"allow", "deny", "error"};

	return names[decided];
}
