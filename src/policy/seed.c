#include "postgres.h"

#include "policy/seed.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/definer.h"
#include "pg/latest.h"
#include "pg/shmem.h"
#include "pgstat.h"
#include "policy/quota.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"

/* The outbox is read backwards in steps of so many ids, until one has nothing of the last minute. */
#define STEP 20000

/* So many steps without a row at all, and nothing is looked for any more. */
#define EMPTY_STEPS 50

static int64
last_id(void)
{
	(void) smem_latest_query("SELECT last_value FROM somamem.outbox_id_seq", 0, NULL, NULL, NULL);
	return smem_latest_number(1);
}

/* Counts what the step has; returns whether that was anything. */
static bool
count_step(Datum *args, Oid *types)
{
	uint64 n = smem_latest_query(
		"SELECT r.tenant, pg_catalog.count(*), r.age FROM"
		" (SELECT o.tenant, pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp() - o.created_at)"
		"  / 0.06)::bigint AS age FROM somamem.outbox o WHERE o.id > $1 AND o.id <= $2 AND o.xid <> '3'"
		"  AND o.created_at > pg_catalog.clock_timestamp() - interval '1 minute') AS r"
		" GROUP BY r.tenant, r.age",
		2, types, args, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool	  isnull;
		char	 *tenant = SPI_getvalue(tuple, desc, 1);
		int64	  count = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		int64	  age = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));

		smem_quota_remember(smem_str(tenant), (uint32) count, age * 60 * SMEM_MSEC);
	}
	return n > 0;
}

static bool
has_rows(Datum *args, Oid *types)
{
	return smem_latest_query("SELECT 1 FROM somamem.outbox o WHERE o.id > $1 AND o.id <= $2"
							 " AND o.xid <> '3' LIMIT 1",
							 2, types, args, NULL) > 0;
}

static void
count_outbox(void)
{
	Oid	  types[2] = {INT8OID, INT8OID};
	Datum args[2];
	int	  empty = 0;

	for (int64 to = last_id(); to > 0 && empty < EMPTY_STEPS; to -= STEP)
	{
		CHECK_FOR_INTERRUPTS();
		args[0] = Int64GetDatum(to - STEP);
		args[1] = Int64GetDatum(to);
		if (count_step(args, types))
			empty = 0;
		else if (has_rows(args, types))
			break;
		else
			empty++;
	}
}

/* With the owner's rights, so with no name or operator of the caller's. */
static void
read_outbox(void)
{
	SmemDefiner definer;
	int			level = NewGUCNestLevel();

	smem_definer_enter(&definer);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	count_outbox();
	SPI_finish();
	AtEOXact_GUC(true, level);
	smem_definer_leave(&definer);
}

static void
set_state(SmemDatabaseSlot *db, SmemSeed state)
{
	pg_atomic_write_u32(&db->seeded, state);
	ConditionVariableBroadcast(&db->seeding);
}

/* Also where the process ends: another one counts then. */
static void
give_up(int code, Datum arg)
{
	set_state((SmemDatabaseSlot *) DatumGetPointer(arg), SMEM_SEED_NONE);
}

/* Whether it is for this process to count; else it is done, or others do it. */
static bool
take_turn(SmemDatabaseSlot *db, bool wait)
{
	uint32 state = SMEM_SEED_NONE;
	bool   mine;

	while (!(mine = pg_atomic_compare_exchange_u32(&db->seeded, &state, SMEM_SEED_RUNS)) &&
		   state == SMEM_SEED_RUNS && wait)
	{
		(void) ConditionVariableTimedSleep(&db->seeding, 1000, PG_WAIT_EXTENSION);
		state = SMEM_SEED_NONE;
	}
	ConditionVariableCancelSleep();
	return mine;
}

void
smem_quota_seed(bool wait)
{
	SmemDatabaseSlot *db = smem_my_database();

	if (db == NULL || !smem_quota_is_young() || pg_atomic_read_u32(&db->seeded) == SMEM_SEED_DONE ||
		!take_turn(db, wait))
		return;
	PG_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(db));
	{
		read_outbox();
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(db));
	set_state(db, SMEM_SEED_DONE);
}
