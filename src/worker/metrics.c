#include "postgres.h"

#include "worker/metrics.h"

#include "core/encode.h"
#include "core/exposition.h"
#include "core/policy.h"
#include "pg/figures.h"
#include "pg/meter.h"
#include "pg/owed.h"
#include "pg/settings.h"
#include "pg/version.h"
#include "policy/count.h"
#include "utils/timestamp.h"

/* One enabled sink of one database that is served. */
typedef struct Sink
{
	SmemDatabaseSlot *db;
	Oid				  oid;
	SmemSink		  sink;
	char			  name[NAMEDATALEN];
	SmemFigures		  fig;
	SmemMeter		 *meter;
	SmemLabel		  labels[4]; /* database, sink, and room for more */
} Sink;

typedef struct Scrape
{
	SmemExposition ex;
	TimestampTz	   now;
	Sink		   sinks[SMEM_MAX_DATABASES * SMEM_SINKS];
	int			   nsinks;
} Scrape;

static const double seconds_persistence[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
											 0.5,	1,		2.5,   5,	 10,	30,	  60};
static const double seconds_processing[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
											0.025,	0.05,	 0.1,	 0.25,	0.5,	1};
static const double seconds_decision[] = {0.000001, 0.0000025, 0.000005, 0.00001, 0.000025,
										  0.0001,	0.00025,   0.001,	 0.0025,  0.005,
										  0.01,		0.025,	   0.1,		 0.25,	  1};
static const double seconds_recovery[] = {0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
static const double rows_batch[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000};

static const SmemBounds persistence = {SMEM_PERSISTENCE_UNIT_US / 1e6, seconds_persistence,
									   lengthof(seconds_persistence)};
static const SmemBounds processing = {SMEM_PROCESSING_UNIT_US / 1e6, seconds_processing,
									  lengthof(seconds_processing)};
static const SmemBounds decision = {SMEM_DECISION_UNIT, seconds_decision,
									lengthof(seconds_decision)};
static const SmemBounds recovery = {SMEM_PERSISTENCE_UNIT_US / 1e6, seconds_recovery,
									lengthof(seconds_recovery)};
static const SmemBounds batch = {1.0 / SMEM_UNITS_PER_ROW, rows_batch, lengthof(rows_batch)};

static void
set_label(SmemLabel *label, const char *name, const char *value)
{
	label->name = name;
	label->value = smem_str(value);
}

static void
find_sinks(Scrape *scrape)
{
	for (int i = 0; i < SMEM_MAX_DATABASES * SMEM_SINKS; i++)
	{
		Sink *one = &scrape->sinks[scrape->nsinks];

		one->db = &smem_shared->database[i / SMEM_SINKS];
		one->sink = (SmemSink) (i % SMEM_SINKS);
		if (!smem_database_served(one->db, one->name) || !smem_sink_enabled(one->sink) ||
			!smem_database_wanted(one->name))
			continue;
		one->oid = one->db->oid;
		one->meter = smem_meter(one->db, one->sink);
		smem_figures_read(one->db, one->sink, scrape->now, &one->fig);
		set_label(&one->labels[0], "database", one->name);
		set_label(&one->labels[1], "sink", smem_sink_name(one->sink));
		scrape->nsinks++;
	}
}

/* --- the backlog -------------------------------------------------------------- */

/* Two names that look alike here, or one that looks like the sum of the rest, would be one series twice. */
static bool
is_label(const char *tenant)
{
	return strcmp(tenant, "other") != 0 && smem_utf8_valid(smem_str(tenant));
}

static void
put_tenants(Scrape *scrape, Sink *one)
{
	int64 known = 0;

	for (int i = 0; i < smem_owed_places(); i++)
	{
		char		name[SMEM_OWED_NAME + 1];
		SmemOwed   *owed = smem_owed_at(i, one->oid, name);
		TimestampTz oldest;
		int64		rows;

		if (owed == NULL || !is_label(name))
			continue;
		rows = smem_owed_rows(owed, one->sink, &oldest);
		known += rows;
		set_label(&one->labels[2], "tenant", name);
		smem_expose_uint(&scrape->ex, one->labels, 3, (uint64) rows);
	}
	set_label(&one->labels[2], "tenant", "other");
	smem_expose_uint(&scrape->ex, one->labels, 3, (uint64) Max(0, one->fig.pending - known));
}

static void
put_backlog(Scrape *scrape)
{
	SmemExposition *ex = &scrape->ex;

	smem_expose_family(ex, "memory_write_outbox_pending_total", SMEM_METRIC_GAUGE,
					   "Committed rows that the sink has not acknowledged, by tenant; tenants"
					   " that are not counted by themselves are other.");
	for (int i = 0; i < scrape->nsinks; i++)
	{
		if (scrape->sinks[i].fig.counted)
			put_tenants(scrape, &scrape->sinks[i]);
	}
	smem_expose_family(ex, "memory_wal_lag_seconds", SMEM_METRIC_GAUGE,
					   "Age in seconds of the oldest committed row that the sink has not"
					   " acknowledged, 0 when there is none.");
	for (int i = 0; i < scrape->nsinks; i++)
	{
		if (scrape->sinks[i].fig.counted)
			smem_expose_double(ex, scrape->sinks[i].labels, 2, scrape->sinks[i].fig.lag_seconds);
	}
}

/* --- one figure of each sink ------------------------------------------------------ */

static uint64
get_retries(Sink *one)
{
	return pg_atomic_read_u64(&one->db->sink[one->sink].retries);
}

static uint64
get_deaths(Sink *one)
{
	return pg_atomic_read_u64(&one->db->sink[one->sink].deaths);
}

static uint64
get_dead(Sink *one)
{
	return (uint64) one->fig.dead;
}

static uint64
get_parked(Sink *one)
{
	return (uint64) one->fig.parked;
}

static uint64
get_circuit(Sink *one)
{
	return one->fig.circuit;
}

static uint64
get_running(Sink *one)
{
	return one->fig.state == SMEM_WORKER_RUNNING && !one->fig.stalled;
}

static uint64
get_paused(Sink *one)
{
	return one->fig.paused;
}

typedef struct Figure
{
	const char	  *name;
	SmemMetricType type;
	const char	  *help;
	uint64 (*get)(Sink *one);
} Figure;

static const Figure figures[] = {
	{"memory_retry_attempts_total", SMEM_METRIC_COUNTER,
	 "Attempts to deliver beyond the first: requests to SomaBrain, messages to Kafka.",
	 get_retries},
	{"memory_dead_letters_total", SMEM_METRIC_COUNTER, "Rows that became dead letters.",
	 get_deaths},
	{"memory_dlq_depth", SMEM_METRIC_GAUGE, "Dead letters that are kept now.", get_dead},
	{"memory_outbox_parked", SMEM_METRIC_GAUGE, "Rows that wait for a retry, or behind one.",
	 get_parked},
	{"memory_circuit_state", SMEM_METRIC_GAUGE,
	 "Circuit of the sink: 0 closed, 1 half-open, 2 open.", get_circuit},
	{"memory_worker_running", SMEM_METRIC_GAUGE,
	 "Whether the sink's worker runs, and has turned lately.", get_running},
	{"memory_sink_paused", SMEM_METRIC_GAUGE, "Whether an operator has paused the sink.",
	 get_paused},
};

static void
put_figures(Scrape *scrape)
{
	for (int f = 0; f < lengthof(figures); f++)
	{
		smem_expose_family(&scrape->ex, figures[f].name, figures[f].type, figures[f].help);
		for (int i = 0; i < scrape->nsinks; i++)
			smem_expose_uint(&scrape->ex, scrape->sinks[i].labels, 2,
							 figures[f].get(&scrape->sinks[i]));
	}
}

/* --- how long things took ----------------------------------------------------------- */

static void
put_histogram(Scrape *scrape, Sink *one, int nlabels, const SmemBounds *bounds,
			  SmemCumulative *cumulative)
{
	SmemCounts counts;

	smem_cumulative_read(cumulative, &counts);
	smem_expose_histogram(&scrape->ex, one->labels, nlabels, bounds, counts.count, counts.sum);
}

static void
put_times(Scrape *scrape)
{
	static const char *const ends[SMEM_ENDS] = {"delivered", "dead"};
	SmemExposition			*ex = &scrape->ex;

	smem_expose_family(ex, "memory_persistence_duration_seconds", SMEM_METRIC_HISTOGRAM,
					   "Seconds from a row's commit to the sink's word on it: delivered, or dead.");
	for (int i = 0; i < scrape->nsinks * SMEM_ENDS; i++)
	{
		Sink *one = &scrape->sinks[i / SMEM_ENDS];

		set_label(&one->labels[2], "status", ends[i % SMEM_ENDS]);
		put_histogram(scrape, one, 3, &persistence, &one->meter->persistence[i % SMEM_ENDS]);
	}
	smem_expose_family(ex, "outbox_processing_duration_seconds", SMEM_METRIC_HISTOGRAM,
					   "Seconds of the worker's own time for a batch that it recorded.");
	for (int i = 0; i < scrape->nsinks; i++)
		put_histogram(scrape, &scrape->sinks[i], 2, &processing,
					  &scrape->sinks[i].meter->processing);
	smem_expose_family(ex, "outbox_batch_size", SMEM_METRIC_HISTOGRAM,
					   "Rows of a batch that the worker recorded.");
	for (int i = 0; i < scrape->nsinks; i++)
		put_histogram(scrape, &scrape->sinks[i], 2, &batch, &scrape->sinks[i].meter->batch);
}

static void
put_violations(Scrape *scrape)
{
	static const char *const metrics[SMEM_VIOLATIONS] = {"memory_persistence_duration_seconds",
														 "memory_persistence_duration_seconds",
														 "memory_wal_lag_seconds"};
	static const char *const types[SMEM_VIOLATIONS] = {"p50_1s", "p95_5s", "max_30s"};

	smem_expose_family(&scrape->ex, "sla_violations_total", SMEM_METRIC_COUNTER,
					   "Violations of the service level: counted when one begins, and every"
					   " somamem.health_interval while it lasts.");
	for (int i = 0; i < scrape->nsinks * SMEM_VIOLATIONS; i++)
	{
		Sink *one = &scrape->sinks[i / SMEM_VIOLATIONS];
		int	  violation = i % SMEM_VIOLATIONS;

		set_label(&one->labels[2], "metric", metrics[violation]);
		set_label(&one->labels[3], "threshold_type", types[violation]);
		smem_expose_uint(&scrape->ex, one->labels, 4,
						 pg_atomic_read_u64(&one->meter->violations[violation]));
	}
}

/* --- policy ---------------------------------------------------------------------------- */

/* What is decided on every write is shown from the start, so that its first refusal is a step up from 0. */
static bool
is_usual(const SmemDecisions *line)
{
	return line->row == smem_policy_row(smem_str("memory.write"), smem_str("somabrain")) &&
		   line->engine == (SmemEngine) smem_guc_policy;
}

static void
put_decisions(Scrape *scrape, SmemDatabaseSlot *db, const char *name)
{
	for (int i = 0; i < SMEM_COUNT_LINES; i++)
	{
		SmemDecisions line;
		SmemLabel	  labels[5];

		if (!smem_count_line_of(db, i, &line) && !is_usual(&line))
			continue;
		set_label(&labels[0], "database", name);
		set_label(&labels[1], "action", smem_policy_row_action(line.row));
		set_label(&labels[2], "resource", smem_policy_row_resource(line.row));
		set_label(&labels[3], "decision", smem_decided_name(line.decided));
		set_label(&labels[4], "engine", smem_engine_name(line.engine));
		smem_expose_uint(&scrape->ex, labels, 5, line.times.n);
	}
}

static bool
can_decide(TimestampTz now)
{
	SmemFigures fig;

	if (smem_guc_policy != SMEM_ENGINE_OPA)
		return true;
	smem_figures_read_slot(&smem_shared->policy, now, &fig);
	return fig.state == SMEM_WORKER_RUNNING && fig.circuit == SMEM_CIRCUIT_CLOSED;
}

static void
put_policy(Scrape *scrape)
{
	static const SmemEngine engines[2] = {SMEM_ENGINE_BUILTIN, SMEM_ENGINE_OPA};
	SmemExposition		   *ex = &scrape->ex;
	SmemCounts				times;
	SmemLabel				label;
	char					name[NAMEDATALEN];

	smem_expose_family(ex, "memory_policy_decisions_total", SMEM_METRIC_COUNTER,
					   "Decisions of policy: allow, deny, or error where the engine did not"
					   " decide, which refuses, too.");
	for (int i = 0; i < SMEM_MAX_DATABASES; i++)
	{
		if (smem_database_served(&smem_shared->database[i], name))
			put_decisions(scrape, &smem_shared->database[i], name);
	}
	smem_expose_family(ex, "memory_policy_decision_duration_seconds", SMEM_METRIC_HISTOGRAM,
					   "Seconds that a decision of policy took.");
	for (int i = 0; i < 2; i++)
	{
		set_label(&label, "engine", smem_engine_name(engines[i]));
		smem_count_times(engines[i], &times);
		if (times.n > 0 || engines[i] == (SmemEngine) smem_guc_policy)
			smem_expose_histogram(ex, &label, 1, &decision, times.count, times.sum);
	}
	smem_expose_family(ex, "memory_policy_engine_up", SMEM_METRIC_GAUGE,
					   "Whether the engine that decides can do so.");
	set_label(&label, "engine", smem_engine_name((SmemEngine) smem_guc_policy));
	if (smem_guc_policy != SMEM_ENGINE_OFF)
		smem_expose_uint(ex, &label, 1, can_decide(scrape->now));
}

/* --- outages ------------------------------------------------------------------------------ */

static const char *const components[SMEM_COMPONENTS] = {"somabrain", "kafka", "opa"};

static bool
is_in_use(int component)
{
	if (component == SMEM_COMPONENT_OPA)
		return smem_guc_policy == SMEM_ENGINE_OPA;
	return smem_sink_enabled((SmemSink) component);
}

static void
put_outages(Scrape *scrape)
{
	static const char *const kinds[SMEM_OUTAGE_KINDS] = {"circuit_open", "courier_lost"};
	SmemOutages				*outages = smem_outages();
	SmemLabel				 labels[2];
	SmemCounts				 counts;

	smem_expose_family(&scrape->ex, "chaos_recovery_duration_seconds", SMEM_METRIC_HISTOGRAM,
					   "Seconds from the first failure of an outage to the moment at which the"
					   " component worked again and nothing older was left to do.");
	for (int i = 0; i < SMEM_COMPONENTS; i++)
	{
		if (!is_in_use(i))
			continue;
		set_label(&labels[0], "component", components[i]);
		smem_cumulative_read(&outages->recovery[i], &counts);
		smem_expose_histogram(&scrape->ex, labels, 1, &recovery, counts.count, counts.sum);
	}
	smem_expose_family(&scrape->ex, "chaos_events_total", SMEM_METRIC_COUNTER, "Outages seen.");
	for (int i = 0; i < SMEM_COMPONENTS * SMEM_OUTAGE_KINDS; i++)
	{
		if (!is_in_use(i / SMEM_OUTAGE_KINDS))
			continue;
		set_label(&labels[0], "component", components[i / SMEM_OUTAGE_KINDS]);
		set_label(&labels[1], "kind", kinds[i % SMEM_OUTAGE_KINDS]);
		smem_expose_uint(
			&scrape->ex, labels, 2,
			pg_atomic_read_u64(&outages->events[i / SMEM_OUTAGE_KINDS][i % SMEM_OUTAGE_KINDS]));
	}
}

static void
put_build(SmemExposition *ex)
{
	SmemLabel labels[2];

	set_label(&labels[0], "version", SMEM_VERSION);
	set_label(&labels[1], "postgres", PG_VERSION);
	smem_expose_family(ex, "somamem_build_info", SMEM_METRIC_GAUGE,
					   "Version of the extension and of the server, always 1.");
	smem_expose_uint(ex, labels, 2, 1);
}

void
smem_metrics_write(SmemBuf *out, bool openmetrics)
{
	Scrape *scrape = palloc0(sizeof(Scrape));

	scrape->ex.out = out;
	scrape->ex.openmetrics = openmetrics;
	scrape->now = GetCurrentTimestamp();
	smem_figures_judge(scrape->now);
	find_sinks(scrape);
	put_backlog(scrape);
	put_figures(scrape);
	put_times(scrape);
	put_violations(scrape);
	put_policy(scrape);
	put_outages(scrape);
	put_build(&scrape->ex);
	smem_expose_end(&scrape->ex);
	pfree(scrape);
}
