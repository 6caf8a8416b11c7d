#include "postgres.h"

#include "policy/count.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/shmem.h"

#define ENGINES 2 /* built in, OPA */

/* Unit of the times that are counted. */
#define UNIT_NS 10

typedef struct Counted
{
	/* whose the cells of a slot are: a slot may change hands */
	pg_atomic_uint32 owner[SMEM_MAX_DATABASES];

	/* what was counted in places that changed hands since: totals do not go back */
	SmemCumulative former[ENGINES];

	/* the last one for databases without a slot */
	SmemCumulative cell[SMEM_MAX_DATABASES + 1][SMEM_POLICY_ROWS][SMEM_DECIDED][ENGINES];
} Counted;

static Counted *counted;

Size
smem_count_size(void)
{
	return MAXALIGN(sizeof(Counted));
}

static void
empty_cells(int place)
{
	SmemCumulative *cells = (SmemCumulative *) counted->cell[place];

	for (Size i = 0; i < sizeof(counted->cell[place]) / sizeof(SmemCumulative); i++)
		smem_cumulative_init(&cells[i]);
}

void
smem_count_start(void)
{
	bool found;

	counted = ShmemInitStruct("somamem decisions", sizeof(Counted), &found);
	if (found)
		return;
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
		pg_atomic_init_u32(&counted->owner[i], InvalidOid);
	for (int i = 0; i < ENGINES; i++)
		smem_cumulative_init(&counted->former[i]);
	for (int i = 0; i <= SMEM_MAX_DATABASES; i++)
		empty_cells(i);
}

static void
add_place(int place, int engine, SmemCounts *times)
{
	for (int i = 0; i < SMEM_POLICY_ROWS * SMEM_DECIDED; i++)
	{
		SmemCumulative *cell = &counted->cell[place][i / SMEM_DECIDED][i % SMEM_DECIDED][engine];
		SmemCounts		counts;

		if (pg_atomic_read_u64(&cell->sum) == 0)
			continue;
		smem_cumulative_read(cell, &counts);
		smem_counts_join(times, &counts);
	}
}

static void
keep_former(int place)
{
	for (int engine = 0; engine < ENGINES; engine++)
	{
		SmemCounts counts = {0};

		add_place(place, engine, &counts);
		smem_cumulative_add(&counted->former[engine], &counts);
	}
}

void
smem_count_times(SmemEngine engine, SmemCounts *times)
{
	int which = engine == SMEM_ENGINE_OPA;

	smem_cumulative_read(&counted->former[which], times);
	for (int i = 0; i <= SMEM_MAX_DATABASES; i++)
		add_place(i, which, times);
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
		keep_former(place);
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

void
smem_count_decisions(int row, SmemVerdictKind decided, SmemEngine engine, uint32 n, uint64 ns)
{
	SmemCumulative *cell = &counted->cell[my_place()][row][decided][engine == SMEM_ENGINE_OPA];
	uint64			units = Max(ns / UNIT_NS, 1);

	pg_atomic_fetch_add_u64(&cell->count[smem_bucket_of(units)], n);
	pg_atomic_fetch_add_u64(&cell->sum, n * units);
}

/* What the line is about is always set; its figures are the database's only where it owns the place. */
static bool
read_line(int place, bool owned, int line, SmemDecisions *decisions)
{
	SmemCumulative *cell;

	memset(decisions, 0, sizeof(*decisions));
	decisions->engine = line % ENGINES == 0 ? SMEM_ENGINE_BUILTIN : SMEM_ENGINE_OPA;
	decisions->decided = (SmemVerdictKind) (line / ENGINES % SMEM_DECIDED);
	decisions->row = line / ENGINES / SMEM_DECIDED;
	cell = &counted->cell[place][decisions->row][decisions->decided][line % ENGINES];
	if (!owned || pg_atomic_read_u64(&cell->sum) == 0)
		return false;
	smem_cumulative_read(cell, &decisions->times);
	return decisions->times.n > 0;
}

bool
smem_count_line(int line, SmemDecisions *decisions)
{
	return read_line(my_place(), true, line, decisions);
}

bool
smem_count_line_of(const SmemDatabaseSlot *db, int line, SmemDecisions *decisions)
{
	int place = (int) (db - smem_shared->database);

	return read_line(place, pg_atomic_read_u32(&counted->owner[place]) == db->oid, line, decisions);
}

double
smem_decisions_ms(const SmemDecisions *decisions, double share)
{
	return rint(smem_bucket_quantile(decisions->times.count, share)) * UNIT_NS / 1000000.0;
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
