/*
 * The operators' levers: pause, resume, retry, redrive, discard, replay and
 * erase.
 *
 * Those that move rows stop this database's workers for the rest of the
 * transaction.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "outbox/erase.h"
#include "outbox/lever.h"
#include "pg/quiesce.h"
#include "pg/shmem.h"
#include "pg/xact.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(somamem_pause);
PG_FUNCTION_INFO_V1(somamem_resume);
PG_FUNCTION_INFO_V1(somamem_retry);
PG_FUNCTION_INFO_V1(somamem_redrive);
PG_FUNCTION_INFO_V1(somamem_discard);
PG_FUNCTION_INFO_V1(somamem_replay);
PG_FUNCTION_INFO_V1(somamem_erase);

static void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"%s\" must not be null", name)));
}

/* The first argument of all levers but erase. */
static SmemSink
sink_argument(FunctionCallInfo fcinfo)
{
	char *name;

	require_argument(fcinfo, 0, "sink");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		if (strcmp(name, smem_sink_name(sink)) == 0)
			return sink;
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown sink \"%s\"", name),
					errhint("Sinks are \"somabrain\" and \"kafka\".")));
	pg_unreachable();
}

static text *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);
}

static void
begin_lever(const char *function)
{
	smem_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	smem_xact_refuse_prepare();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

static void
stop_workers(void)
{
	if (!smem_quiesce(MyDatabaseId))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("could not stop the workers of this database"), errhint("Try again.")));
}

static void
set_pause(FunctionCallInfo fcinfo, const char *function, bool paused)
{
	SmemSink sink = sink_argument(fcinfo);

	begin_lever(function);
	smem_lever_pause(sink, paused);
	SPI_finish();
	smem_xact_lever_pulled(sink, false);
}

Datum
somamem_pause(PG_FUNCTION_ARGS)
{
	set_pause(fcinfo, "pause()", true);
	PG_RETURN_VOID();
}

Datum
somamem_resume(PG_FUNCTION_ARGS)
{
	set_pause(fcinfo, "resume()", false);
	PG_RETURN_VOID();
}

Datum
somamem_retry(PG_FUNCTION_ARGS)
{
	SmemSink sink = sink_argument(fcinfo);
	int64	 id = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64	 rows;

	begin_lever("retry()");
	rows = smem_lever_retry(sink, PG_ARGISNULL(1) ? NULL : &id);
	SPI_finish();
	smem_xact_lever_pulled(sink, true);
	PG_RETURN_INT64(rows);
}

static void
tell_of_order(const SmemRedriven *done)
{
	if (done->late > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT
						" of " INT64_FORMAT
						" rows follow later rows of their sessions, which were delivered already",
						done->late, done->rows)));
	if (done->unknown > 0)
		ereport(
			NOTICE,
			(errmsg(INT64_FORMAT
					" of " INT64_FORMAT
					" rows may follow later rows of their sessions, which are not kept any more",
					done->unknown, done->rows)));
}

Datum
somamem_redrive(PG_FUNCTION_ARGS)
{
	SmemSink	 sink = sink_argument(fcinfo);
	text		*tenant = text_argument(fcinfo, 1);
	int64		 id = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	SmemRedriven done;

	begin_lever("redrive()");
	stop_workers();
	smem_lever_redrive(sink, tenant, PG_ARGISNULL(2) ? NULL : &id, &done);
	SPI_finish();
	tell_of_order(&done);
	PG_RETURN_INT64(done.rows);
}

Datum
somamem_discard(PG_FUNCTION_ARGS)
{
	SmemSink sink = sink_argument(fcinfo);
	bool	 found;

	require_argument(fcinfo, 1, "id");
	begin_lever("discard()");
	stop_workers();
	found = smem_lever_discard(sink, PG_GETARG_INT64(1));
	SPI_finish();
	PG_RETURN_BOOL(found);
}

Datum
somamem_replay(PG_FUNCTION_ARGS)
{
	SmemSink sink = sink_argument(fcinfo);
	int64	 left_out;
	int64	 rows;

	require_argument(fcinfo, 1, "from_id");
	require_argument(fcinfo, 2, "to_id");
	begin_lever("replay()");
	stop_workers();
	rows = smem_lever_replay(sink, PG_GETARG_INT64(1), PG_GETARG_INT64(2), text_argument(fcinfo, 3),
							 &left_out);
	SPI_finish();
	if (left_out > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT
								" rows were left out, because rows before them are not settled",
								left_out),
						 errhint("Replay them later.")));
	PG_RETURN_INT64(rows);
}

Datum
somamem_erase(PG_FUNCTION_ARGS)
{
	text *tenant;
	text *session = text_argument(fcinfo, 1);
	int64 rows;

	require_argument(fcinfo, 0, "tenant");
	tenant = PG_GETARG_TEXT_PP(0);
	begin_lever("erase()");
	stop_workers();
	rows = smem_erase(tenant, session);
	SPI_finish();
	PG_RETURN_INT64(rows);
}
