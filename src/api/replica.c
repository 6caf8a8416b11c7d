/*
 * Triggers on what a subscription brings (sql/parts/15_replica.sql says why).
 *
 * A subscription's apply and its first copy are told by their process alone:
 * a restore, and a session that sets session_replication_role for reasons of
 * its own, bring rows that are this server's to ship.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "outbox/snapshot.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(somamem_mark_copy);
PG_FUNCTION_INFO_V1(somamem_ignore_copy);
PG_FUNCTION_INFO_V1(somamem_refuse_truncate);

static TriggerData *
trigger_of(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("trigger functions can only be called as triggers")));
	return (TriggerData *) fcinfo->context;
}

static HeapTuple
row_of(TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
													  : trigger->tg_trigtuple;
}

Datum
somamem_mark_copy(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo);
	TupleDesc	 desc = RelationGetDescr(trigger->tg_relation);
	int			 column = SPI_fnumber(desc, "xid");
	Datum		 xid = UInt64GetDatum(SMEM_XID_COPY);
	bool		 isnull = false;

	if (!IsLogicalWorker())
		return PointerGetDatum(trigger->tg_trigtuple);
	return PointerGetDatum(
		heap_modify_tuple_by_cols(trigger->tg_trigtuple, desc, 1, &column, &xid, &isnull));
}

Datum
somamem_ignore_copy(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo);

	return PointerGetDatum(IsLogicalWorker() ? NULL : row_of(trigger));
}

static bool
has_own_rows(Relation rel)
{
	StringInfoData sql;
	uint64		   found;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT 1 FROM somamem.%s WHERE xid > " SMEM_XID_COPY_SQL " LIMIT 1",
					 quote_identifier(RelationGetRelationName(rel)));
	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql.data, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for rows of this server");
	found = SPI_processed;
	SPI_finish();
	return found > 0;
}

Datum
somamem_refuse_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo);

	if (IsLogicalWorker() && has_own_rows(trigger->tg_relation))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg(
				 "cannot truncate table \"%s\" for a subscription: it holds memory writes of this server",
				 RelationGetRelationName(trigger->tg_relation)),
			 errhint("Create the publication with publish = 'insert'.")));
	return PointerGetDatum(NULL);
}
