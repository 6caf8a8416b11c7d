#include "postgres.h"

#include "access/xact.h"
#include "pg/catalog.h"
#include "pg/query.h"
#include "pgstat.h"
#include "utils/snapmgr.h"

static Oid extension = InvalidOid;

/*
 * An extension that was dropped and made again is another one: its ids and
 * positions begin anew, and what this process remembers is of the old.
 */
static bool
is_same_extension(void)
{
	Oid now = smem_extension_oid();

	if (!OidIsValid(extension))
		extension = now;
	return OidIsValid(now) && now == extension;
}

Oid
smem_served_extension(void)
{
	return extension;
}

bool
smem_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!is_same_extension())
	{
		CommitTransactionCommand();
		return false;
	}
	pgstat_report_activity(STATE_RUNNING, activity);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

void
smem_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

uint64
smem_query(SmemQuery *query, Datum *args, const char *nulls, long limit)
{
	MemoryContext caller = CurrentMemoryContext;
	int			  rc;

	if (query->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(query->sql, query->nargs, query->types);

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", query->sql,
				 SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep a plan");
		query->plan = plan;
	}
	rc = SPI_execute_plan(query->plan, args, nulls, false, limit);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", query->sql, SPI_result_code_string(rc));
	/* SPI leaves its own context behind; callers keep things for longer than that one lives. */
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}
