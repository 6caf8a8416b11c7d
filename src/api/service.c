/*
 * SQL face of what tenants and deliveries got: _tenant_lag and _sla.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pg/figures.h"
#include "pg/meter.h"
#include "pg/owed.h"
#include "pg/settings.h"
#include "policy/binding.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(somamem_tenant_lag);
PG_FUNCTION_INFO_V1(somamem_sla);

static void
put_tenant(ReturnSetInfo *rsinfo, Datum tenant, SmemSink sink, int64 rows, TimestampTz oldest,
		   TimestampTz now)
{
	Datum values[5];
	bool  nulls[5] = {0};

	values[0] = tenant;
	values[1] = CStringGetTextDatum(smem_sink_name(sink));
	values[2] = Int64GetDatum(rows);
	values[3] = TimestampTzGetDatum(oldest);
	nulls[3] = oldest == 0;
	values[4] = Float8GetDatum(oldest == 0 ? 0.0 : Max(0.0, (double) (now - oldest) / 1000000.0));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* All that is pending, less what is known of tenants: theirs who have no place. */
static void
put_others(ReturnSetInfo *rsinfo, SmemSink sink, int64 rows, TimestampTz now)
{
	SmemDatabaseSlot *db = smem_my_database();
	SmemFigures		  fig;

	if (db == NULL)
		return;
	smem_figures_read(db, sink, now, &fig);
	if (fig.pending > rows)
		put_tenant(rsinfo, CStringGetTextDatum("other"), sink, fig.pending - rows,
				   fig.oldest_pending_at, now);
}

Datum
somamem_tenant_lag(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz	   now = GetCurrentTimestamp();
	SmemStr		   bound_to;
	bool		   bound;

	smem_require_preload();
	bound = smem_bound_tenant(fcinfo, &bound_to);
	InitMaterializedSRF(fcinfo, 0);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		int64 known = 0;

		for (int i = 0; i < smem_owed_places() && smem_sink_enabled(sink); i++)
		{
			char		name[SMEM_OWED_NAME + 1];
			SmemOwed   *owed = smem_owed_at(i, MyDatabaseId, name);
			TimestampTz oldest;
			int64		rows;

			/* One who has the name that stands for the rest is counted with them. */
			if (owed == NULL ||
				(bound ? !smem_str_equal(smem_str(name), bound_to) : strcmp(name, "other") == 0))
				continue;
			rows = smem_owed_rows(owed, sink, &oldest);
			put_tenant(rsinfo, CStringGetTextDatum(name), sink, rows, oldest, now);
			known += rows;
		}
		if (!bound && smem_sink_enabled(sink))
			put_others(rsinfo, sink, known, now);
	}
	return (Datum) 0;
}

/* Where nothing was delivered, rows that wait may say that the target is missed; else nothing is known. */
static void
set_met(Datum *met, bool *unknown, const SmemCounts *counts, const SmemFigures *fig)
{
	bool late = fig->lag_seconds * 1000.0 > smem_guc_sla_p95;

	if (counts->n > 0)
		late = smem_counts_ms(counts, 0.50) > smem_guc_sla_p50 ||
			   smem_counts_ms(counts, 0.95) > smem_guc_sla_p95;
	*met = BoolGetDatum(!late);
	*unknown = counts->n == 0 && !late;
}

static void
put_span(ReturnSetInfo *rsinfo, SmemDatabaseSlot *db, SmemSink sink, SmemSpan span, TimestampTz now)
{
	static const char *const spans[SMEM_SPANS] = {"1 min", "5 min", "1 h"};
	static const double		 shares[3] = {0.50, 0.95, 0.99};
	SmemCounts				 counts = {0};
	SmemFigures				 fig = {0};
	Datum					 values[9];
	bool					 nulls[9] = {0};

	if (db != NULL)
	{
		smem_meter_span(smem_meter(db, sink), span, now, &counts);
		smem_figures_read(db, sink, now, &fig);
	}
	values[0] = CStringGetTextDatum(smem_sink_name(sink));
	values[1] = CStringGetTextDatum(spans[span]);
	values[2] = Int64GetDatum((int64) counts.n);
	for (int i = 0; i < 3; i++)
	{
		values[3 + i] = Float8GetDatum(smem_counts_ms(&counts, shares[i]));
		nulls[3 + i] = counts.n == 0;
	}
	values[6] = Float8GetDatum(smem_guc_sla_p50);
	values[7] = Float8GetDatum(smem_guc_sla_p95);
	set_met(&values[8], &nulls[8], &counts, &fig);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Figures are of all tenants together, so a bound role sees none. */
Datum
somamem_sla(PG_FUNCTION_ARGS)
{
	ReturnSetInfo	 *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz		  now = GetCurrentTimestamp();
	SmemDatabaseSlot *db;
	SmemStr			  tenant;

	smem_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	if (smem_bound_tenant(fcinfo, &tenant))
		return (Datum) 0;
	db = smem_my_database();
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		for (int span = 0; span < SMEM_SPANS && smem_sink_enabled(sink); span++)
			put_span(rsinfo, db, sink, span, now);
	}
	return (Datum) 0;
}
