#include "postgres.h"

#include "pg/health.h"

#include "pg/figures.h"
#include "pg/settings.h"
#include "pg/version.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* The whole outbox: the worst of its enabled sinks. */
typedef struct Totals
{
	int64  pending;
	int64  dead;
	int64  parked;
	double lag_seconds;
} Totals;

static const char *
health_name(SmemHealth health)
{
	static const char *const names[] = {"off", "ok", "degraded", "down"};

	return names[health];
}

static SmemHealth
judge(double value, double warning, double critical)
{
	return value > critical	 ? SMEM_HEALTH_DOWN
		   : value > warning ? SMEM_HEALTH_DEGRADED
							 : SMEM_HEALTH_OK;
}

static SmemHealth
judge_sink(const SmemFigures *fig)
{
	if (fig->state == SMEM_WORKER_STOPPED || fig->state == SMEM_WORKER_BACKOFF)
		return SMEM_HEALTH_DOWN;
	if (fig->state == SMEM_WORKER_STARTING || fig->stalled || fig->paused ||
		fig->circuit != SMEM_CIRCUIT_CLOSED)
		return SMEM_HEALTH_DEGRADED;
	return SMEM_HEALTH_OK;
}

static SmemHealth
write_sink(StringInfo out, SmemDatabaseSlot *db, SmemSink sink, Totals *totals)
{
	SmemFigures fig = {0};
	SmemHealth	health = SMEM_HEALTH_OFF;

	if (smem_sink_enabled(sink))
	{
		if (db != NULL)
			smem_figures_read(db, sink, GetCurrentTimestamp(), &fig);
		health = judge_sink(&fig);
	}
	appendStringInfo(out, ",\"%s\":{\"status\":\"%s\"", smem_sink_name(sink), health_name(health));
	if (health != SMEM_HEALTH_OFF)
	{
		appendStringInfo(out, ",\"circuit\":\"%s\",\"pending\":" INT64_FORMAT,
						 smem_circuit_name(fig.circuit), fig.pending);
		if (fig.last_error[0] == '\0' && fig.pid == 0)
			strlcpy(fig.last_error, "worker is not running", SMEM_ERROR_LEN);
		if (fig.paused)
			strlcpy(fig.last_error, "paused by an operator", SMEM_ERROR_LEN);
		if (fig.last_error[0] != '\0')
		{
			appendStringInfoString(out, ",\"last_error\":");
			escape_json(out, fig.last_error);
		}
		totals->pending = Max(totals->pending, fig.pending);
		totals->lag_seconds = Max(totals->lag_seconds, fig.lag_seconds);
		totals->dead += fig.dead;
		totals->parked += fig.parked;
	}
	appendStringInfoChar(out, '}');
	return health;
}

static SmemHealth
write_outbox(StringInfo out, const Totals *totals)
{
	SmemHealth backlog = SMEM_HEALTH_OK;
	SmemHealth lag = judge(totals->lag_seconds * 1000, smem_guc_lag_warning, smem_guc_lag_critical);

	/* A burst in flight is not an outage. */
	if (totals->lag_seconds > 1.0)
		backlog =
			judge((double) totals->pending, smem_guc_pending_warning, smem_guc_pending_critical);
	appendStringInfo(out,
					 ",\"memory_write_outbox\":{\"status\":\"%s\",\"pending\":" INT64_FORMAT
					 ",\"failed\":" INT64_FORMAT ",\"retrying\":" INT64_FORMAT
					 ",\"oldest_pending_seconds\":%.3f}",
					 health_name(backlog), totals->pending, totals->dead, totals->parked,
					 totals->lag_seconds);
	appendStringInfo(out, ",\"memory_wal_lag\":{\"status\":\"%s\",\"lag_seconds\":%.3f}",
					 health_name(lag), totals->lag_seconds);
	appendStringInfo(out, ",\"memory_dlq\":{\"status\":\"ok\",\"depth\":" INT64_FORMAT "}",
					 totals->dead);
	return Max(backlog, lag);
}

/* Where nobody could decide, every write is refused, unless refusals are only counted. */
static SmemHealth
write_policy(StringInfo out)
{
	static const char *const engines[] = {
		[SMEM_ENGINE_OFF] = "off", [SMEM_ENGINE_BUILTIN] = "builtin", [SMEM_ENGINE_OPA] = "opa"};
	SmemHealth	health = smem_guc_policy == SMEM_ENGINE_OFF ? SMEM_HEALTH_OFF : SMEM_HEALTH_OK;
	bool		asked = smem_guc_policy == SMEM_ENGINE_OPA;
	SmemFigures fig = {0};

	if (asked)
		smem_figures_read_slot(&smem_shared->policy, GetCurrentTimestamp(), &fig);
	if (asked && (fig.state != SMEM_WORKER_RUNNING || fig.circuit != SMEM_CIRCUIT_CLOSED))
		health = smem_guc_policy_dry_run ? SMEM_HEALTH_DEGRADED : SMEM_HEALTH_DOWN;
	appendStringInfo(out, ",\"policy\":{\"status\":\"%s\",\"engine\":\"%s\"", health_name(health),
					 engines[smem_guc_policy]);
	if (asked)
		appendStringInfo(out, ",\"circuit\":\"%s\"", smem_circuit_name(fig.circuit));
	if (asked && fig.last_error[0] == '\0' && fig.pid == 0)
		strlcpy(fig.last_error, "worker is not running", SMEM_ERROR_LEN);
	if (fig.last_error[0] != '\0')
	{
		appendStringInfoString(out, ",\"last_error\":");
		escape_json(out, fig.last_error);
	}
	appendStringInfoChar(out, '}');
	return health;
}

SmemHealth
smem_health_write(StringInfo out, SmemDatabaseSlot *db, const char *datname)
{
	StringInfoData parts;
	Totals		   totals = {0};
	SmemHealth	   worst = SMEM_HEALTH_OK;
	SmemHealth	   part;

	initStringInfo(&parts);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		part = write_sink(&parts, db, sink, &totals);
		worst = Max(worst, part);
	}
	part = write_outbox(&parts, &totals);
	worst = Max(worst, part);
	part = write_policy(&parts);
	worst = Max(worst, part);

	appendStringInfo(out, "{\"status\":\"%s\",\"version\":\"%s\",\"database\":", health_name(worst),
					 SMEM_VERSION);
	escape_json(out, datname);
	appendStringInfo(out, ",\"components\":{\"postgres\":{\"status\":\"ok\"}%s}}", parts.data);
	pfree(parts.data);
	return worst;
}

bool
smem_health_write_server(StringInfo out, const char *database, SmemHealth *worst)
{
	*worst = smem_health_write(out, NULL, database != NULL ? database : "");
	return true;
}

bool
smem_health_ready(StringInfo why)
{
	return true;
}
