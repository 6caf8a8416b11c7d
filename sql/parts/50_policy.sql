/*
 * Policy: who may do what.  memory_write asks by itself; docs/policy.md has the rules.
 */

/*
 * Purpose: decides on an input as the policy's rules have it, by the engine
 *   that somamem.policy names.  Counts no write; of a write, the figures of
 *   the context are this server's, whatever the caller says.
 * Returns: whether it is allowed, the reason, and who decided (off, builtin,
 *   opa).  An engine that cannot decide has refused.
 * Raises: 22023 for an input that is no object, 22004 for NULL, 55000 when the
 *   library is not preloaded.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.authorize
(
	input		jsonb,
	OUT allow	boolean,
	OUT reason	text,
	OUT engine	text
)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'somamem_authorize';

COMMENT ON FUNCTION somamem.authorize(jsonb) IS 'whether policy allows what the input says, and why';

/*
 * Purpose: decisions of this database since the server started.
 * Returns: one row per action, resource, decision and engine that occurred; none for a role bound to a tenant.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._policy_stats(
	OUT action text,
	OUT resource text,
	OUT decision text,
	OUT engine text,
	OUT count bigint,
	OUT p50_ms double precision,
	OUT p99_ms double precision)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 4
AS 'MODULE_PATHNAME', 'somamem_policy_stats';

COMMENT ON FUNCTION somamem._policy_stats() IS 'decisions of this database, from shared memory';

/*
 * Purpose: the last refusals of this database, as many as somamem.decision_log keeps for the whole server.
 * Returns: one row per refusal, oldest first; of its own tenant for a role bound to one.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._decision_log(
	OUT refused_at timestamptz,
	OUT action text,
	OUT resource text,
	OUT tenant text,
	OUT role text,
	OUT reason text,
	OUT engine text,
	OUT dry_run boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'somamem_decision_log';

COMMENT ON FUNCTION somamem._decision_log() IS 'the last refusals of this database, from shared memory';

CREATE VIEW somamem.policy_stats WITH (security_barrier) AS
	SELECT s.action, s.resource, s.decision, s.engine, s.count, s.p50_ms, s.p99_ms
	FROM somamem._policy_stats() AS s;

COMMENT ON VIEW somamem.policy_stats IS 'decisions of this database since the server started; empty for a role bound to a tenant';
COMMENT ON COLUMN somamem.policy_stats.action IS 'action of the rule, other where no rule names it';
COMMENT ON COLUMN somamem.policy_stats.resource IS 'resource of the rule, any where the rule does not look at it';
COMMENT ON COLUMN somamem.policy_stats.decision IS 'allow, deny, or error where the engine did not decide, which refuses, too';
COMMENT ON COLUMN somamem.policy_stats.engine IS 'builtin or opa';
COMMENT ON COLUMN somamem.policy_stats.count IS 'decisions; each element of a batch is one';
COMMENT ON COLUMN somamem.policy_stats.p50_ms IS 'median of their time in milliseconds, right to a tenth';
COMMENT ON COLUMN somamem.policy_stats.p99_ms IS '99th percentile of their time in milliseconds, right to a tenth';

CREATE VIEW somamem.decision_log WITH (security_barrier) AS
	SELECT l.refused_at, l.action, l.resource, l.tenant, l.role, l.reason, l.engine, l.dry_run
	FROM somamem._decision_log() AS l;

COMMENT ON VIEW somamem.decision_log IS 'the last refusals of this database; empty unless somamem.decision_log keeps some';
COMMENT ON COLUMN somamem.decision_log.refused_at IS 'when it was refused';
COMMENT ON COLUMN somamem.decision_log.action IS 'action of the input';
COMMENT ON COLUMN somamem.decision_log.resource IS 'resource of the input';
COMMENT ON COLUMN somamem.decision_log.tenant IS 'tenant of the input';
COMMENT ON COLUMN somamem.decision_log.engine IS 'builtin or opa';
COMMENT ON COLUMN somamem.decision_log.role IS 'role that was refused, null where it is gone';
COMMENT ON COLUMN somamem.decision_log.reason IS 'reason that the caller got';
COMMENT ON COLUMN somamem.decision_log.dry_run IS 'true: it was not refused, because of somamem.policy_dry_run';
