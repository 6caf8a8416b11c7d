/*
 * The operators' levers: pause, resume, retry, redrive, discard, replay and
 * erase.
 *
 * Those that move rows stop this database's workers for the rest of the
 * transaction.  A caller that is bound to a tenant has levers for its own rows
 * alone.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "outbox/erase.h"
#include "outbox/lever.h"
#include "pg/definer.h"
#include "pg/quiesce.h"
#include "pg/shmem.h"
#include "pg/xact.h"
#include "policy/binding.h"
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

/* The bound tenant where there is one.  Asked for before the caller gets the owner's rights. */
static text *
tenant_argument(FunctionCallInfo fcinfo, int number)
{
	text   *tenant = PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);
	SmemStr name = {NULL, 0};

	if (tenant != NULL)
		name = (SmemStr){VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant)};
	return smem_binding_apply(fcinfo, &name) ? cstring_to_text_with_len(name.data, name.len)
											 : tenant;
}

/* Gives the owner's rights, until end_lever. */
static void
begin_lever(SmemDefiner *definer, const char *function)
{
	smem_definer_enter(definer);
	smem_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	smem_xact_refuse_prepare();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

static void
end_lever(const SmemDefiner *definer)
{
	SPI_finish();
	smem_definer_leave(definer);
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
	SmemSink	sink = sink_argument(fcinfo);
	SmemDefiner definer;

	smem_binding_refuse(fcinfo, function);
	begin_lever(&definer, function);
	smem_lever_pause(sink, paused);
	end_lever(&definer);
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
	SmemSink	sink = sink_argument(fcinfo);
	int64		id = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	SmemDefiner definer;
	int64		rows;

	smem_binding_refuse(fcinfo, "retry()");
	begin_lever(&definer, "retry()");
	rows = smem_lever_retry(sink, PG_ARGISNULL(1) ? NULL : &id);
	end_lever(&definer);
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
	text		*tenant = tenant_argument(fcinfo, 1);
	int64		 id = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	SmemDefiner	 definer;
	SmemRedriven done;

	begin_lever(&definer, "redrive()");
	stop_workers();
	smem_lever_redrive(sink, tenant, PG_ARGISNULL(2) ? NULL : &id, &done);
	end_lever(&definer);
	tell_of_order(&done);
	PG_RETURN_INT64(done.rows);
}

Datum
somamem_discard(PG_FUNCTION_ARGS)
{
	SmemSink	sink = sink_argument(fcinfo);
	SmemStr		tenant = {NULL, 0};
	SmemDefiner definer;
	bool		found;

	require_argument(fcinfo, 1, "id");
	(void) smem_binding_apply(fcinfo, &tenant);
	begin_lever(&definer, "discard()");
	stop_workers();
	found = smem_lever_discard(sink, PG_GETARG_INT64(1), tenant);
	end_lever(&definer);
	PG_RETURN_BOOL(found);
}

Datum
somamem_replay(PG_FUNCTION_ARGS)
{
	SmemSink	sink = sink_argument(fcinfo);
	SmemDefiner definer;
	text	   *tenant;
	int64		left_out;
	int64		rows;

	require_argument(fcinfo, 1, "from_id");
	require_argument(fcinfo, 2, "to_id");
	tenant = tenant_argument(fcinfo, 3);
	begin_lever(&definer, "replay()");
	stop_workers();
	rows = smem_lever_replay(sink, PG_GETARG_INT64(1), PG_GETARG_INT64(2), tenant, &left_out);
	end_lever(&definer);
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
	text	   *session = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	SmemDefiner definer;
	text	   *tenant;
	int64		rows;

	require_argument(fcinfo, 0, "tenant");
	tenant = tenant_argument(fcinfo, 0);
	begin_lever(&definer, "erase()");
	stop_workers();
	rows = smem_erase(tenant, session);
	end_lever(&definer);
	PG_RETURN_INT64(rows);
}
