/*
 * Definition of every setting.  A setting exists here when something reads it.
 */
#include "postgres.h"

#include "pg/settings.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

char *smem_guc_databases;
char *smem_guc_sinks;
char *smem_guc_somabrain_url;
char *smem_guc_somabrain_path_prefix;
char *smem_guc_somabrain_token_file;
char *smem_guc_somabrain_ca_file;
int	  smem_guc_somabrain_timeout;
int	  smem_guc_somabrain_concurrency;
int	  smem_guc_somabrain_batch_items;
int	  smem_guc_somabrain_batch_kb;
char *smem_guc_kafka_brokers;
char *smem_guc_kafka_topic;
char *smem_guc_kafka_dead_letter_topic;
char *smem_guc_kafka_config_file;
bool  smem_guc_kafka_exactly_once;
int	  smem_guc_ship_gate;
int	  smem_guc_policy;
bool  smem_guc_policy_dry_run;
char *smem_guc_opa_url;
char *smem_guc_opa_decision_path;
int	  smem_guc_opa_timeout;
int	  smem_guc_pii_filter;
int	  smem_guc_rate_limit_per_minute;
int	  smem_guc_rate_limit_tenants;
int	  smem_guc_decision_log;
int	  smem_guc_batch_max_items;
int	  smem_guc_max_payload_kb;
int	  smem_guc_max_attempts;
int	  smem_guc_retry_initial;
int	  smem_guc_retry_max;
int	  smem_guc_lag_warning;
int	  smem_guc_lag_critical;
int	  smem_guc_pending_warning;
int	  smem_guc_pending_critical;
int	  smem_guc_sla_p50;
int	  smem_guc_sla_p95;
int	  smem_guc_health_interval;
char *smem_guc_http_listen;
char *smem_guc_metrics_listen;
int	  smem_guc_metrics_tenants;
int	  smem_guc_retention_s;
int	  smem_guc_idempotency_window_s;

static const struct config_enum_entry ship_gates[] = {
	{"local", SMEM_GATE_LOCAL, false}, {"remote", SMEM_GATE_REMOTE, false}, {NULL, 0, false}};

static const struct config_enum_entry policies[] = {{"off", SMEM_ENGINE_OFF, false},
													{"builtin", SMEM_ENGINE_BUILTIN, false},
													{"opa", SMEM_ENGINE_OPA, false},
													{NULL, 0, false}};

static const struct config_enum_entry pii_filters[] = {{"off", SMEM_PII_OFF, false},
													   {"deny", SMEM_PII_DENY, false},
													   {"redact", SMEM_PII_REDACT, false},
													   {NULL, 0, false}};

/* Splits a comma-separated setting; NIL when it is not a list. */
static List *
split_list(const char *value, char **raw)
{
	List *names;

	*raw = pstrdup(value ? value : "");
	if (!SplitIdentifierString(*raw, ',', &names))
		return NIL;
	return names;
}

static bool
check_sinks(char **newval, void **extra, GucSource source)
{
	char	 *raw = pstrdup(*newval);
	List	 *names;
	ListCell *lc;

	if (!SplitIdentifierString(raw, ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	foreach (lc, names)
	{
		const char *name = lfirst(lc);
		bool		known = false;

		for (int sink = 0; sink < SMEM_SINKS; sink++)
			known |= strcmp(name, smem_sink_name(sink)) == 0;
		if (!known)
		{
			GUC_check_errdetail("Unknown sink \"%s\".", name);
			return false;
		}
	}
	list_free(names);
	pfree(raw);
	return true;
}

static bool
list_has(const char *value, const char *wanted, bool star)
{
	char	 *raw;
	List	 *names = split_list(value, &raw);
	ListCell *lc;
	bool	  found = false;

	foreach (lc, names)
	{
		if (strcmp(lfirst(lc), wanted) == 0 || (star && strcmp(lfirst(lc), "*") == 0))
			found = true;
	}
	list_free(names);
	pfree(raw);
	return found;
}

bool
smem_sink_enabled(SmemSink sink)
{
	const char *address =
		sink == SMEM_SINK_SOMABRAIN ? smem_guc_somabrain_url : smem_guc_kafka_brokers;

	return address != NULL && address[0] != '\0' &&
		   list_has(smem_guc_sinks, smem_sink_name(sink), false);
}

bool
smem_database_wanted(const char *datname)
{
	return list_has(smem_guc_databases, datname, true);
}

bool
smem_web_wanted(void)
{
	return smem_guc_http_listen[0] != '\0' || smem_guc_metrics_listen[0] != '\0';
}

static void
define_string(const char *name, const char *brief, const char *detail, char **var, const char *boot,
			  int flags, GucStringCheckHook check)
{
	DefineCustomStringVariable(name, brief, detail, var, boot, PGC_SIGHUP, flags, check, NULL,
							   NULL);
}

static void
define_int(const char *name, const char *brief, const char *detail, int *var, int boot, int min,
		   int max, int flags)
{
	DefineCustomIntVariable(name, brief, detail, var, boot, min, max, PGC_SIGHUP, flags, NULL, NULL,
							NULL);
}

static void
define_enum(const char *name, const char *brief, const char *detail, int *var, int boot,
			const struct config_enum_entry *entries)
{
	DefineCustomEnumVariable(name, brief, detail, var, boot, entries, PGC_SIGHUP, 0, NULL, NULL,
							 NULL);
}

static void
define_sinks(void)
{
	define_string("somamem.databases", "Databases whose outbox is shipped.",
				  "Names separated by commas, or * for every database that has the extension.",
				  &smem_guc_databases, "*", GUC_LIST_INPUT, NULL);
	define_string("somamem.sinks", "Sinks to which rows are shipped.",
				  "somabrain and kafka; a sink without an address is off.", &smem_guc_sinks,
				  "somabrain,kafka", GUC_LIST_INPUT, check_sinks);

	define_string("somamem.somabrain_url", "Address of SomaBrain, such as http://localhost:9696.",
				  "Empty switches the sink off.", &smem_guc_somabrain_url, "", 0, NULL);
	define_string("somamem.somabrain_path_prefix", "Path before /memory/remember on the server.",
				  "Newer servers want /api.", &smem_guc_somabrain_path_prefix, "", 0, NULL);
	define_string("somamem.somabrain_token_file", "File that holds the bearer token for SomaBrain.",
				  "Read when it changes; empty sends none.", &smem_guc_somabrain_token_file, "",
				  GUC_SUPERUSER_ONLY, NULL);
	define_string(
		"somamem.somabrain_ca_file", "File of certificates that SomaBrain's is checked against.",
		"Empty uses the system's.", &smem_guc_somabrain_ca_file, "", GUC_SUPERUSER_ONLY, NULL);
	define_int("somamem.somabrain_timeout", "Longest time for one request to SomaBrain.", NULL,
			   &smem_guc_somabrain_timeout, 5000, 10, 3600000, GUC_UNIT_MS);
	define_int("somamem.somabrain_concurrency",
			   "Requests to SomaBrain at the same time, per database.", NULL,
			   &smem_guc_somabrain_concurrency, 8, 1, 256, 0);
	define_int("somamem.somabrain_batch_items", "Most rows in one request to SomaBrain.", NULL,
			   &smem_guc_somabrain_batch_items, 100, 1, 1000, 0);
	define_int("somamem.somabrain_batch_bytes", "Most payload in one request to SomaBrain.",
			   "A single row may exceed it.", &smem_guc_somabrain_batch_kb, 1024, 1, 16384,
			   GUC_UNIT_KB);

	define_string("somamem.kafka_brokers",
				  "Kafka brokers to start from, host:port separated by commas.",
				  "Empty switches the sink off.", &smem_guc_kafka_brokers, "", 0, NULL);
	define_string("somamem.kafka_topic", "Topic that gets every write.", NULL,
				  &smem_guc_kafka_topic, "memory.wal", 0, NULL);
	define_string("somamem.kafka_dead_letter_topic",
				  "Topic that gets a message for each dead letter.", NULL,
				  &smem_guc_kafka_dead_letter_topic, "memory.wal.dlq", 0, NULL);
	define_string("somamem.kafka_config_file",
				  "File of librdkafka properties, one name=value a line.",
				  "For TLS and SASL; readable by the server's user alone.",
				  &smem_guc_kafka_config_file, "", GUC_SUPERUSER_ONLY, NULL);
	DefineCustomBoolVariable("somamem.kafka_exactly_once",
							 "Writes to Kafka in transactions, with the position.",
							 "A read_committed consumer then sees each row exactly once.",
							 &smem_guc_kafka_exactly_once, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_enum("somamem.ship_gate", "What must have a commit before its rows are sent.",
				"local: this server's disk; remote: the synchronous standbys, too.",
				&smem_guc_ship_gate, SMEM_GATE_LOCAL, ship_gates);
}

/* What is sized by shared memory; while libraries are preloaded, or it cannot be set any more. */
static void
define_sizes(void)
{
	DefineCustomIntVariable("somamem.rate_limit_tenants",
							"Tenants whose writes of the last minute are counted one by one.",
							"Those beyond share one count, and one limit.",
							&smem_guc_rate_limit_tenants, 1024, 1, 65536, PGC_POSTMASTER, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("somamem.decision_log",
							"Refusals that are kept for the view decision_log.",
							"Reason and names, no payload; 0 keeps none.", &smem_guc_decision_log,
							0, 0, 10000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"somamem.metrics_tenants", "Tenants whose backlog is counted one by one.",
		"Those beyond are the tenant \"other\" in the metrics.", &smem_guc_metrics_tenants, 1000, 1,
		65536, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* Addresses that are bound once. */
static void
define_listeners(void)
{
	DefineCustomStringVariable("somamem.http_listen",
							   "Address of the health document and the banner page, host:port.",
							   "Empty serves none; 127.0.0.1:21016 is the usual one.",
							   &smem_guc_http_listen, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("somamem.metrics_listen",
							   "Address of the metrics for Prometheus, host:port.",
							   "Empty serves them at somamem.http_listen, where that is set;"
							   " 127.0.0.1:8000 is the usual one.",
							   &smem_guc_metrics_listen, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
define_policy(void)
{
	define_enum("somamem.policy", "Who decides whether a write is allowed.",
				"off: nobody; builtin: the rules built in; opa: Open"
				" Policy Agent.",
				&smem_guc_policy, SMEM_ENGINE_BUILTIN, policies);
	DefineCustomBoolVariable("somamem.policy_dry_run", "Decides and counts, and refuses nothing.",
							 "Each reason for which it would refuse is logged once a minute.",
							 &smem_guc_policy_dry_run, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_string("somamem.opa_url", "Address of Open Policy Agent.", NULL, &smem_guc_opa_url,
				  "http://localhost:8181", 0, NULL);
	define_string("somamem.opa_decision_path", "Path of the decision, a boolean, on that server.",
				  "The rule \"decision\" beside it is asked for the reason of a refusal.",
				  &smem_guc_opa_decision_path, "/v1/data/soma/policy/allow", 0, NULL);
	define_int("somamem.opa_timeout", "Longest time for a decision of Open Policy Agent.",
			   "Without one in time the write is refused.", &smem_guc_opa_timeout, 1000, 1, 60000,
			   GUC_UNIT_MS);
	define_enum("somamem.pii_filter",
				"What happens to e-mail addresses and telephone numbers in a payload's content.",
				"off: nothing; deny: the write is refused; redact: they are masked before it is"
				" stored.",
				&smem_guc_pii_filter, SMEM_PII_OFF, pii_filters);
	define_int("somamem.rate_limit_per_minute", "Most writes of a tenant in any minute.",
			   "0 is unlimited.", &smem_guc_rate_limit_per_minute, 1000, 0, 1000000000, 0);
	if (process_shared_preload_libraries_in_progress)
		define_sizes();
}

static void
define_limits(void)
{
	define_int("somamem.batch_max_items", "Most elements of one memory_write_batch.", NULL,
			   &smem_guc_batch_max_items, 500, 1, 100000, 0);
	define_int("somamem.max_payload", "Largest payload, as the length of its text.", NULL,
			   &smem_guc_max_payload_kb, 900, 1, 16384, GUC_UNIT_KB);
	define_int("somamem.max_attempts",
			   "Attempts for a row that fails by itself, before it is a dead letter.",
			   "Failures of the sink are not counted.", &smem_guc_max_attempts, 10, 1, 1000, 0);
	define_int("somamem.retry_initial",
			   "Pause after the first failure, doubled after each further one.",
			   "Each pause is drawn between zero and this.", &smem_guc_retry_initial, 1000, 1,
			   3600000, GUC_UNIT_MS);
	define_int("somamem.retry_max", "Longest pause between two attempts.", NULL,
			   &smem_guc_retry_max, 60000, 1, 86400000, GUC_UNIT_MS);
	define_int("somamem.retention", "How long a row is kept after every sink has it.",
			   "Rows go by segments, so they may stay a quarter longer.", &smem_guc_retention_s,
			   86400, 1, INT_MAX, GUC_UNIT_S);
	define_int("somamem.idempotency_window", "How long a key is remembered after its write.",
			   "The shipment log with its receipts is kept as long.",
			   &smem_guc_idempotency_window_s, 604800, 1, INT_MAX, GUC_UNIT_S);
}

static void
define_thresholds(void)
{
	define_int("somamem.lag_warning", "Lag above which health is degraded.", NULL,
			   &smem_guc_lag_warning, 10000, 0, INT_MAX, GUC_UNIT_MS);
	define_int("somamem.lag_critical", "Lag above which health is down.", NULL,
			   &smem_guc_lag_critical, 30000, 0, INT_MAX, GUC_UNIT_MS);
	define_int("somamem.pending_warning", "Backlog in rows above which health is degraded.",
			   "Judged only while the lag exceeds one second.", &smem_guc_pending_warning, 50, 0,
			   INT_MAX, 0);
	define_int("somamem.pending_critical", "Backlog in rows above which health is down.",
			   "Judged only while the lag exceeds one second.", &smem_guc_pending_critical, 100, 0,
			   INT_MAX, 0);
	define_int("somamem.sla_p50", "Time from commit to acknowledgement that half of the rows keep.",
			   NULL, &smem_guc_sla_p50, 1000, 1, INT_MAX, GUC_UNIT_MS);
	define_int("somamem.sla_p95", "Time from commit to acknowledgement that 95 of 100 rows keep.",
			   NULL, &smem_guc_sla_p95, 5000, 1, INT_MAX, GUC_UNIT_MS);
	define_int("somamem.health_interval",
			   "How often a violation of the service level is counted while it lasts.",
			   "It is counted when it begins, too.", &smem_guc_health_interval, 30000, 1000,
			   3600000, GUC_UNIT_MS);
}

void
smem_settings_define(void)
{
	define_sinks();
	define_policy();
	if (process_shared_preload_libraries_in_progress)
		define_listeners();
	define_limits();
	define_thresholds();
	MarkGUCPrefixReserved("somamem");
}
