/*
 * SQL face of the figures: _sink_figures and _workers.
 *
 * Figures are of all tenants.  Readers may call both, because the views do:
 * one that is bound to a tenant gets none.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pg/figures.h"
#include "pg/settings.h"
#include "policy/binding.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(somamem_sink_figures);
PG_FUNCTION_INFO_V1(somamem_workers);

Datum
somamem_sink_figures(PG_FUNCTION_ARGS)
{
	ReturnSetInfo	 *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz		  now = GetCurrentTimestamp();
	SmemStr			  tenant;
	bool			  bound;
	SmemDatabaseSlot *db;

	smem_require_preload();
	bound = smem_bound_tenant(fcinfo, &tenant);
	InitMaterializedSRF(fcinfo, 0);
	db = smem_my_database();
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		SmemFigures fig = {0};
		Datum		values[6];
		bool		nulls[6] = {false, bound, bound, bound, bound, bound};

		if (!smem_sink_enabled(sink))
			continue;
		if (db != NULL)
			smem_figures_read(db, sink, now, &fig);
		nulls[1] |= !fig.counted;
		nulls[5] |= !fig.counted;
		values[0] = CStringGetTextDatum(smem_sink_name(sink));
		values[1] = Int64GetDatum(fig.pending);
		values[2] = Int64GetDatum(fig.parked);
		values[3] = Int64GetDatum(fig.dead);
		values[4] = TimestampTzGetDatum(fig.oldest_pending_at);
		nulls[4] |= fig.oldest_pending_at == 0 || !fig.counted;
		values[5] = Float8GetDatum(fig.lag_seconds);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
put_launcher(ReturnSetInfo *rsinfo)
{
	Datum values[9] = {0};
	bool  nulls[9] = {true, true, true, false, true, true, true, true, true};
	pid_t pid;

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	pid = smem_shared->launcher_pid;
	LWLockRelease(smem_shared->lock);
	values[0] = Int32GetDatum(pid);
	nulls[0] = pid == 0;
	values[3] = CStringGetTextDatum(pid == 0 ? "stopped" : "running");
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_worker(ReturnSetInfo *rsinfo, const char *datname, const char *sink, const SmemFigures *fig)
{
	Datum values[9] = {0};
	bool  nulls[9] = {0};

	values[0] = Int32GetDatum(fig->pid);
	nulls[0] = fig->pid == 0;
	nulls[1] = datname == NULL;
	if (datname != NULL)
		values[1] = CStringGetTextDatum(datname);
	values[2] = CStringGetTextDatum(sink);
	values[3] = CStringGetTextDatum(smem_worker_state_name(fig));
	values[4] = CStringGetTextDatum(smem_circuit_name(fig->circuit));
	values[5] = CStringGetTextDatum(fig->last_error);
	nulls[5] = fig->last_error[0] == '\0';
	values[6] = TimestampTzGetDatum(fig->last_success_at);
	nulls[6] = fig->last_success_at == 0;
	values[7] = Int32GetDatum(fig->courier_pid);
	nulls[7] = fig->courier_pid == 0;
	values[8] = TimestampTzGetDatum(fig->started_at);
	nulls[8] = fig->pid == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_shipper(ReturnSetInfo *rsinfo, SmemDatabaseSlot *db, Oid oid, SmemSink sink, bool bound)
{
	char	   *datname = get_database_name(oid);
	SmemFigures fig;

	if (datname == NULL)
		return;
	smem_figures_read(db, sink, GetCurrentTimestamp(), &fig);
	/* What the sink said may be about another tenant's row. */
	if (bound)
		fig.last_error[0] = '\0';
	put_worker(rsinfo, datname, smem_sink_name(sink), &fig);
}

/* A worker without a database, of which there is one where it is wanted. */
static void
put_attendant(ReturnSetInfo *rsinfo, SmemSinkSlot *slot, const char *name)
{
	SmemFigures fig;

	smem_figures_read_slot(slot, GetCurrentTimestamp(), &fig);
	put_worker(rsinfo, NULL, name, &fig);
}

Datum
somamem_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SmemStr		   tenant;
	bool		   bound;

	smem_require_preload();
	bound = smem_bound_tenant(fcinfo, &tenant);
	InitMaterializedSRF(fcinfo, 0);
	put_launcher(rsinfo);
	if (smem_guc_policy == SMEM_ENGINE_OPA)
		put_attendant(rsinfo, &smem_shared->policy, "policy");
	if (smem_web_wanted())
		put_attendant(rsinfo, &smem_shared->web, "web");
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i];
		Oid				  oid;
		bool			  active;

		LWLockAcquire(smem_shared->lock, LW_SHARED);
		oid = db->oid;
		active = db->state == SMEM_DATABASE_ACTIVE;
		LWLockRelease(smem_shared->lock);
		for (int sink = 0; active && sink < SMEM_SINKS; sink++)
		{
			if (smem_sink_enabled(sink))
				put_shipper(rsinfo, db, oid, sink, bound);
		}
	}
	return (Datum) 0;
}
