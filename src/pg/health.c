#include "postgres.h"

#include "pg/health.h"

#include "pg/figures.h"
#include "pg/settings.h"
#include "pg/version.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* A sink, of one database or of several: sums, and the worst. */
typedef struct SinkHealth
{
	SmemHealth health;
	uint32	   circuit;
	int64	   pending;
	int64	   parked;
	int64	   dead;
	double	   lag_seconds;
	char	   last_error[SMEM_ERROR_LEN]; /* of the database that does worst */
} SinkHealth;

typedef struct Health
{
	SinkHealth sink[SMEM_SINKS];
	SmemHealth backlog; /* of the database that does worst */
	int		   databases;
	char	   database[NAMEDATALEN]; /* the last one */
} Health;

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

static const char *
find_error(const SmemFigures *fig)
{
	if (fig->paused)
		return "paused by an operator";
	if (fig->last_error[0] == '\0' && fig->pid == 0)
		return "worker is not running";
	return fig->last_error;
}

/* db NULL: no worker knows the database yet. */
static void
take_sink(SinkHealth *sink, SmemDatabaseSlot *db, SmemSink which, TimestampTz now)
{
	SmemFigures fig = {0};

	if (db != NULL)
		smem_figures_read(db, which, now, &fig);
	sink->health = judge_sink(&fig);
	sink->circuit = fig.circuit;
	sink->pending = fig.pending;
	sink->parked = fig.parked;
	sink->dead = fig.dead;
	sink->lag_seconds = fig.lag_seconds;
	strlcpy(sink->last_error, find_error(&fig), SMEM_ERROR_LEN);
}

static void
add_sink(SinkHealth *to, const SinkHealth *sink)
{
	if (sink->last_error[0] != '\0' && (sink->health > to->health || to->last_error[0] == '\0'))
		strlcpy(to->last_error, sink->last_error, SMEM_ERROR_LEN);
	to->health = Max(to->health, sink->health);
	to->circuit = Max(to->circuit, sink->circuit);
	to->pending += sink->pending;
	to->parked += sink->parked;
	to->dead += sink->dead;
	to->lag_seconds = Max(to->lag_seconds, sink->lag_seconds);
}

/* A burst in flight is not an outage: of one database, no more than of several. */
static SmemHealth
judge_backlog(const SinkHealth *sinks)
{
	int64  pending = 0;
	double lag_seconds = 0.0;

	for (int i = 0; i < SMEM_SINKS; i++)
	{
		pending = Max(pending, sinks[i].pending);
		lag_seconds = Max(lag_seconds, sinks[i].lag_seconds);
	}
	if (lag_seconds <= 1.0)
		return SMEM_HEALTH_OK;
	return judge((double) pending, smem_guc_pending_warning, smem_guc_pending_critical);
}

static void
take_database(Health *all, SmemDatabaseSlot *db, TimestampTz now)
{
	SinkHealth own[SMEM_SINKS] = {0};

	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		if (!smem_sink_enabled(sink))
			continue;
		take_sink(&own[sink], db, sink, now);
		add_sink(&all->sink[sink], &own[sink]);
	}
	all->backlog = Max(all->backlog, judge_backlog(own));
	all->databases++;
}

static void
write_error(StringInfo out, const char *error)
{
	if (error[0] == '\0')
		return;
	appendStringInfoString(out, ",\"last_error\":");
	escape_json(out, error);
}

static void
write_sink(StringInfo out, SmemSink which, const SinkHealth *sink)
{
	appendStringInfo(out, ",\"%s\":{\"status\":\"%s\"", smem_sink_name(which),
					 health_name(sink->health));
	if (sink->health != SMEM_HEALTH_OFF)
	{
		appendStringInfo(out, ",\"circuit\":\"%s\",\"pending\":" INT64_FORMAT,
						 smem_circuit_name(sink->circuit), sink->pending);
		write_error(out, sink->last_error);
	}
	appendStringInfoChar(out, '}');
}

/* The whole outbox: the worst of its sinks; dead letters and parked rows of all of them. */
static SmemHealth
write_outbox(StringInfo out, const Health *all)
{
	SinkHealth totals = {0};
	SmemHealth lag;

	for (int i = 0; i < SMEM_SINKS; i++)
	{
		totals.pending = Max(totals.pending, all->sink[i].pending);
		totals.lag_seconds = Max(totals.lag_seconds, all->sink[i].lag_seconds);
		totals.dead += all->sink[i].dead;
		totals.parked += all->sink[i].parked;
	}
	lag = judge(totals.lag_seconds * 1000, smem_guc_lag_warning, smem_guc_lag_critical);
	appendStringInfo(out,
					 ",\"memory_write_outbox\":{\"status\":\"%s\",\"pending\":" INT64_FORMAT
					 ",\"failed\":" INT64_FORMAT ",\"retrying\":" INT64_FORMAT
					 ",\"oldest_pending_seconds\":%.3f}",
					 health_name(all->backlog), totals.pending, totals.dead, totals.parked,
					 totals.lag_seconds);
	appendStringInfo(out, ",\"memory_wal_lag\":{\"status\":\"%s\",\"lag_seconds\":%.3f}",
					 health_name(lag), totals.lag_seconds);
	appendStringInfo(out, ",\"memory_dlq\":{\"status\":\"ok\",\"depth\":" INT64_FORMAT "}",
					 totals.dead);
	return Max(all->backlog, lag);
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
	write_error(out, fig.last_error);
	appendStringInfoChar(out, '}');
	return health;
}

/* datname NULL: of several databases. */
static SmemHealth
write_document(StringInfo out, const Health *all, const char *datname)
{
	StringInfoData parts;
	SmemHealth	   worst = SMEM_HEALTH_OK;
	SmemHealth	   part;

	initStringInfo(&parts);
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		write_sink(&parts, sink, &all->sink[sink]);
		worst = Max(worst, all->sink[sink].health);
	}
	part = write_outbox(&parts, all);
	worst = Max(worst, part);
	part = write_policy(&parts);
	worst = Max(worst, part);

	appendStringInfo(out, "{\"status\":\"%s\",\"version\":\"%s\"", health_name(worst),
					 SMEM_VERSION);
	if (datname != NULL)
	{
		appendStringInfoString(out, ",\"database\":");
		escape_json(out, datname);
	}
	appendStringInfo(out, ",\"components\":{\"postgres\":{\"status\":\"ok\"}%s}}", parts.data);
	pfree(parts.data);
	return worst;
}

SmemHealth
smem_health_write(StringInfo out, SmemDatabaseSlot *db, const char *datname)
{
	Health all = {0};

	take_database(&all, db, GetCurrentTimestamp());
	return write_document(out, &all, datname);
}

/* Where nothing is served, nothing works either. */
static void
take_nothing(Health *all)
{
	all->backlog = SMEM_HEALTH_OK;
	for (int i = 0; i < SMEM_SINKS; i++)
	{
		if (!smem_sink_enabled(i))
			continue;
		all->sink[i].health = SMEM_HEALTH_DOWN;
		strlcpy(all->sink[i].last_error, "no database has the extension", SMEM_ERROR_LEN);
	}
}

bool
smem_health_write_server(StringInfo out, const char *database, SmemHealth *worst)
{
	Health		all = {0};
	TimestampTz now = GetCurrentTimestamp();
	char		name[NAMEDATALEN];

	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		if (!smem_database_served(&smem_shared->database[i], name) ||
			(database != NULL ? strcmp(name, database) != 0 : !smem_database_wanted(name)))
			continue;
		take_database(&all, &smem_shared->database[i], now);
		strlcpy(all.database, name, NAMEDATALEN);
	}
	if (all.databases == 0 && database != NULL)
		return false;
	if (all.databases == 0)
		take_nothing(&all);
	*worst = write_document(out, &all, all.databases == 1 ? all.database : NULL);
	return true;
}

/* Rows of the sink wait, and none has moved for as long as a warning takes. */
static bool
stands_still(const SmemFigures *fig, TimestampTz now)
{
	double patience = smem_guc_lag_warning / 1000.0;

	if (!fig->counted)
		return true;
	return fig->lag_seconds > patience &&
		   (double) (now - fig->last_success_at) / 1000000.0 > patience;
}

bool
smem_health_ready(StringInfo why)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		ready = pg_atomic_read_u32(&smem_shared->settled) != 0;
	char		name[NAMEDATALEN];

	if (!ready)
		appendStringInfoString(why, "databases are being looked for\n");

	for (int i = 0; i < SMEM_MAX_DATABASES * SMEM_SINKS; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i / SMEM_SINKS];
		SmemSink		  sink = (SmemSink) (i % SMEM_SINKS);
		SmemFigures		  fig;

		if (!smem_sink_enabled(sink) || !smem_database_served(db, name) ||
			!smem_database_wanted(name))
			continue;
		smem_figures_read(db, sink, now, &fig);
		if (!stands_still(&fig, now))
			continue;
		ready = false;
		if (!fig.counted)
			appendStringInfo(why, "database %s, sink %s: not known yet\n", name,
							 smem_sink_name(sink));
		else
			appendStringInfo(why,
							 "database %s, sink %s: " INT64_FORMAT " rows wait, the oldest for"
							 " %.0f s\n",
							 name, smem_sink_name(sink), fig.pending, fig.lag_seconds);
	}
	return ready;
}
