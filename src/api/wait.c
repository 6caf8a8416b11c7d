/*
 * wait_for: sleeps on the database's condition variable, which a shipper
 * broadcasts after each record, and looks again with a new snapshot.
 *
 * For a role that is bound to a tenant, a row of another one is like none: it
 * waits for it in vain.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pg/definer.h"
#include "pg/settings.h"
#include "pg/shmem.h"
#include "pg/ticks.h"
#include "policy/binding.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(somamem_wait_for);

/* In case a worker ends between a record and its broadcast. */
#define LOOK_AGAIN_MS 1000

typedef enum Verdict
{
	WAITING,
	ACKNOWLEDGED,
	DEAD
} Verdict;

static void
check_sink(const char *name)
{
	bool any = false;

	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		any |= smem_sink_enabled(sink);
		if (name == NULL || strcmp(name, smem_sink_name(sink)) != 0)
			continue;
		if (smem_sink_enabled(sink))
			return;
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("sink \"%s\" is off", name),
						errhint("Set its address, and name it in somamem.sinks.")));
	}
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown sink \"%s\"", name),
				 errhint("Sinks are \"somabrain\" and \"kafka\".")));
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("no sink is enabled"),
				 errhint("Set somamem.somabrain_url or somamem.kafka_brokers.")));
}

/* Waiting for a row that only this transaction's end can release would be for ever. */
static void
refuse_own_row(int64 id)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	Oid				  types[2] = {INT8OID, XID8OID};
	Datum			  args[2] = {Int64GetDatum(id), UInt64GetDatum(U64FromFullTransactionId(own))};

	if (!FullTransactionIdIsValid(own))
		return;
	if (SPI_execute_with_args("SELECT 1 FROM somamem.outbox WHERE id = $1 AND xid = $2", 2, types,
							  args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a row");
	if (SPI_processed > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot wait for a write of the same transaction"),
						errhint("Commit first: nothing is sent before.")));
}

static Verdict
judge(SPIPlanPtr plan, int64 id, const char *sink, const char *tenant)
{
	Datum args[3] = {Int64GetDatum(id), 0, 0};
	char  nulls[] = {' ', sink ? ' ' : 'n', tenant ? ' ' : 'n', '\0'};
	bool  isnull;
	bool  dead;
	bool  all;

	if (sink)
		args[1] = CStringGetTextDatum(sink);
	if (tenant)
		args[2] = CStringGetTextDatum(tenant);
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_plan(plan, args, nulls, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a delivery");
	dead = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	all = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_freetuptable(SPI_tuptable);
	PopActiveSnapshot();
	return dead ? DEAD : all ? ACKNOWLEDGED : WAITING;
}

/* Whether a look is worth it: a sink that has recorded nothing so new cannot have this row. */
static bool
may_be_recorded(SmemDatabaseSlot *db, int64 id, const char *name)
{
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		uint64 high = pg_atomic_read_u64(&db->sink[sink].recorded_high);

		if (name != NULL ? strcmp(name, smem_sink_name(sink)) != 0 : !smem_sink_enabled(sink))
			continue;
		if (high != 0 && high < (uint64) id)
			return false;
	}
	return true;
}

/* Planned once a session: planning costs more than looking. */
static SPIPlanPtr
prepare(void)
{
	static SPIPlanPtr plan = NULL;
	Oid				  types[3] = {INT8OID, TEXTOID, TEXTOID};

	if (plan != NULL)
		return plan;
	plan = SPI_prepare("SELECT coalesce(bool_or(state IN ('dead', 'discarded', 'erased')), false),"
					   " coalesce(bool_and(state = 'delivered'), false)"
					   " FROM somamem._delivery($1) WHERE ($2 IS NULL OR sink = $2)"
					   " AND ($3 IS NULL OR somamem._is_of($1, $3))",
					   3, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
	{
		plan = NULL;
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	}
	return plan;
}

static int64
interval_us(Interval *span)
{
	return span->time + ((int64) span->month * DAYS_PER_MONTH + span->day) * USECS_PER_DAY;
}

static bool
wait_for(SmemDatabaseSlot *db, int64 id, const char *sink, const char *tenant, int64 span)
{
	SPIPlanPtr plan = prepare();
	Verdict	   verdict;
	int64	   now = smem_ticks_us();
	int64	   until = now + span;
	int64	   looked = 0;

	ConditionVariablePrepareToSleep(&db->delivered);
	for (;;)
	{
		verdict = WAITING;
		if (now - looked >= LOOK_AGAIN_MS * 1000 || now >= until || may_be_recorded(db, id, sink))
		{
			verdict = judge(plan, id, sink, tenant);
			looked = now;
		}
		if (verdict != WAITING || now >= until)
			break;
		CHECK_FOR_INTERRUPTS();
		(void) ConditionVariableTimedSleep(
			&db->delivered, Min(LOOK_AGAIN_MS, (until - now + 999) / 1000), PG_WAIT_EXTENSION);
		now = smem_ticks_us();
	}
	ConditionVariableCancelSleep();
	return verdict == ACKNOWLEDGED;
}

Datum
somamem_wait_for(PG_FUNCTION_ARGS)
{
	int64			  id;
	char			 *sink = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	SmemStr			  bound;
	char			 *tenant = NULL;
	SmemDefiner		  definer;
	SmemDatabaseSlot *db;
	int64			  span;
	bool			  acknowledged;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("\"%s\" must not be null", PG_ARGISNULL(0) ? "id" : "timeout")));
	id = PG_GETARG_INT64(0);
	span = interval_us(PG_GETARG_INTERVAL_P(2));
	smem_require_preload();
	check_sink(sink);
	db = smem_my_database();
	if (db == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no worker serves this database yet")));
	if (smem_bound_tenant(fcinfo, &bound))
		tenant = pnstrdup(bound.data, bound.len);
	smem_definer_enter(&definer);
	SPI_connect();
	refuse_own_row(id);
	acknowledged = wait_for(db, id, sink, tenant, Max(span, 0));
	SPI_finish();
	smem_definer_leave(&definer);
	PG_RETURN_BOOL(acknowledged);
}
