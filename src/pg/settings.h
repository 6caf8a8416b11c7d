/*
 * The settings somamem.*, as C variables.
 *
 * Durations are in milliseconds unless the name says otherwise, sizes in
 * kilobytes where the setting has that unit.  Meanings: docs/reference.md.
 */
#ifndef SMEM_PG_SETTINGS_H
#define SMEM_PG_SETTINGS_H

#include "core/sink.h"

extern char *smem_guc_databases;
extern char *smem_guc_sinks;

extern char *smem_guc_somabrain_url;
extern char *smem_guc_somabrain_path_prefix;
extern char *smem_guc_somabrain_token_file;
extern char *smem_guc_somabrain_ca_file;
extern int	 smem_guc_somabrain_timeout;
extern int	 smem_guc_somabrain_concurrency;
extern int	 smem_guc_somabrain_batch_items;
extern int	 smem_guc_somabrain_batch_kb;

extern char *smem_guc_kafka_brokers;
extern char *smem_guc_kafka_topic;
extern char *smem_guc_kafka_dead_letter_topic;
extern char *smem_guc_kafka_config_file;
extern bool	 smem_guc_kafka_exactly_once;

/* What must have a row's commit before it is sent. */
typedef enum SmemShipGate
{
	SMEM_GATE_LOCAL, /* this server's disk */
	SMEM_GATE_REMOTE /* the synchronous standbys, too, where there are any */
} SmemShipGate;

extern int smem_guc_ship_gate; /* SmemShipGate */

/* Who decides whether a write is allowed. */
typedef enum SmemEngine
{
	SMEM_ENGINE_OFF,	 /* nobody */
	SMEM_ENGINE_BUILTIN, /* the rules of core/policy.h */
	SMEM_ENGINE_OPA		 /* Open Policy Agent, through the policy worker */
} SmemEngine;

typedef enum SmemPiiFilter
{
	SMEM_PII_OFF,
	SMEM_PII_DENY,	/* a write with personal data is refused, by whoever decides */
	SMEM_PII_REDACT /* it is masked before it is stored */
} SmemPiiFilter;

extern int	 smem_guc_policy; /* SmemEngine */
extern bool	 smem_guc_policy_dry_run;
extern char *smem_guc_opa_url;
extern char *smem_guc_opa_decision_path;
extern int	 smem_guc_opa_timeout;
extern int	 smem_guc_pii_filter; /* SmemPiiFilter */
extern int	 smem_guc_rate_limit_per_minute;
extern int	 smem_guc_rate_limit_tenants;
extern int	 smem_guc_decision_log;

extern char *smem_guc_http_listen;
extern char *smem_guc_metrics_listen;
extern int	 smem_guc_metrics_tenants;

extern int smem_guc_batch_max_items;
extern int smem_guc_max_payload_kb;
extern int smem_guc_max_attempts;
extern int smem_guc_retry_initial;
extern int smem_guc_retry_max;
extern int smem_guc_lag_warning;
extern int smem_guc_lag_critical;
extern int smem_guc_pending_warning;
extern int smem_guc_pending_critical;
extern int smem_guc_sla_p50;
extern int smem_guc_sla_p95;
extern int smem_guc_health_interval;
extern int smem_guc_retention_s;
extern int smem_guc_idempotency_window_s;

extern void smem_settings_define(void);

/* Whether the sink is named in somamem.sinks and has an address. */
extern bool smem_sink_enabled(SmemSink sink);

/* Whether there is an address to serve. */
extern bool smem_web_wanted(void);

/* Whether somamem.databases names this database (or is "*"). */
extern bool smem_database_wanted(const char *datname);

#endif
