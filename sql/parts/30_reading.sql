/*
 * Reading: figures from shared memory, and where a row is.
 *
 * Views read tables with their owner's rights, and functions with those that
 * src/pg/definer.h takes.  All of them ask to whom the caller is bound first.
 */

/*
 * Purpose: figures of the enabled sinks of this database, from shared memory.
 * Returns: one row per enabled sink.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._sink_figures(
	OUT sink text,
	OUT pending bigint,
	OUT parked bigint,
	OUT dead bigint,
	OUT oldest_pending_at timestamptz,
	OUT lag_seconds double precision)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 2
AS 'MODULE_PATHNAME', 'somamem_sink_figures';

COMMENT ON FUNCTION somamem._sink_figures() IS 'figures of the enabled sinks of this database, from shared memory';

/*
 * Purpose: what runs, in every database of the server.
 * Returns: one row for the launcher, and one per database and enabled sink.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._workers(
	OUT pid integer,
	OUT database text,
	OUT sink text,
	OUT state text,
	OUT circuit text,
	OUT last_error text,
	OUT last_success_at timestamptz,
	OUT courier_pid integer,
	OUT started_at timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 4
AS 'MODULE_PATHNAME', 'somamem_workers';

COMMENT ON FUNCTION somamem._workers() IS 'the workers of every database of this server';

/*
 * Purpose: health of this database's outbox and sinks; reads shared memory alone.
 * Returns: the document that GET /v1/health gives.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem.health()
RETURNS jsonb
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'somamem_health';

COMMENT ON FUNCTION somamem.health() IS 'health of this database''s outbox and sinks: ok, degraded or down, by component';

CREATE VIEW somamem.outbox_status WITH (security_barrier) AS
	SELECT f.sink, f.pending,
		CASE WHEN b.tenant IS NULL THEN f.parked ELSE (SELECT pg_catalog.count(*) FROM somamem.parked p
			WHERE p.sink = f.sink AND p.tenant = b.tenant AND p.state <> 'delayed') END AS parked,
		CASE WHEN b.tenant IS NULL THEN f.dead ELSE (SELECT pg_catalog.count(*) FROM somamem.dead_letter d
			WHERE d.sink = f.sink AND d.tenant = b.tenant) END AS dead,
		f.oldest_pending_at, f.lag_seconds,
		CASE WHEN b.tenant IS NULL THEN (SELECT s.from_snapshot::text FROM somamem.shipment s
			WHERE s.sink = f.sink ORDER BY s.id DESC LIMIT 1) END AS "position"
	FROM somamem._sink_figures() AS f
	CROSS JOIN somamem._bound_tenant() AS b(tenant);

COMMENT ON VIEW somamem.outbox_status IS
	'backlog of each enabled sink of this database; to a role that is bound to a tenant, parked and dead of that tenant, and null for all else, which is known of all tenants together';
COMMENT ON COLUMN somamem.outbox_status.sink IS 'name of the sink';
COMMENT ON COLUMN somamem.outbox_status.pending IS 'committed rows that the sink has not acknowledged, parked ones included; null until its worker has counted them';
COMMENT ON COLUMN somamem.outbox_status.parked IS 'rows that wait for a retry, or behind one';
COMMENT ON COLUMN somamem.outbox_status.dead IS 'dead letters';
COMMENT ON COLUMN somamem.outbox_status.oldest_pending_at IS 'commit of the oldest row that is not acknowledged, null when there is none';
COMMENT ON COLUMN somamem.outbox_status.lag_seconds IS 'age of that commit, 0 when there is none';
COMMENT ON COLUMN somamem.outbox_status.position IS 'snapshot up to which every row is settled';

CREATE VIEW somamem.workers WITH (security_barrier) AS
	SELECT w.pid, w.database, w.sink, w.state, w.circuit, w.last_error, w.last_success_at, w.courier_pid, w.started_at
	FROM somamem._workers() AS w;

COMMENT ON VIEW somamem.workers IS 'the launcher, and the shipper of each database and enabled sink of this server';
COMMENT ON COLUMN somamem.workers.pid IS 'process id, null while it does not run';
COMMENT ON COLUMN somamem.workers.database IS 'database that is shipped, null for the launcher';
COMMENT ON COLUMN somamem.workers.sink IS 'sink that it ships to, null for the launcher';
COMMENT ON COLUMN somamem.workers.state IS 'running, paused (by an operator), starting, backoff (waits to be started again) or stopped';
COMMENT ON COLUMN somamem.workers.circuit IS 'closed, half-open or open';
COMMENT ON COLUMN somamem.workers.last_error IS 'the sink''s last failure, null since its last success, and to a role that is bound to a tenant';
COMMENT ON COLUMN somamem.workers.last_success_at IS 'last acknowledged delivery since the server started';
COMMENT ON COLUMN somamem.workers.courier_pid IS 'process id of the child program that speaks to the sink';
COMMENT ON COLUMN somamem.workers.started_at IS 'start of the process';

/*
 * Purpose: what each tenant of this database waits for, from shared memory.
 * Returns: one row per enabled sink and tenant that is counted by itself, one for the others ("other") where any of
 *   theirs wait; to a role bound to a tenant, its own.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._tenant_lag(
	OUT tenant text,
	OUT sink text,
	OUT pending bigint,
	OUT oldest_pending_at timestamptz,
	OUT lag_seconds double precision)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'somamem_tenant_lag';

COMMENT ON FUNCTION somamem._tenant_lag() IS 'backlog of each tenant at each enabled sink, from shared memory';

/*
 * Purpose: how long deliveries of this database took lately, from shared memory.
 * Returns: one row per enabled sink and window; none for a role bound to a tenant.
 * Raises: 55000 when the library is not preloaded.
 */
CREATE FUNCTION somamem._sla(
	OUT sink text,
	OUT "window" text,
	OUT deliveries bigint,
	OUT p50_ms double precision,
	OUT p95_ms double precision,
	OUT p99_ms double precision,
	OUT target_p50_ms double precision,
	OUT target_p95_ms double precision,
	OUT met boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 6
AS 'MODULE_PATHNAME', 'somamem_sla';

COMMENT ON FUNCTION somamem._sla() IS 'time from commit to acknowledgement over the last minute, five minutes and hour, from shared memory';

CREATE VIEW somamem.tenant_lag WITH (security_barrier) AS
	SELECT t.tenant, t.sink, t.pending, t.oldest_pending_at, t.lag_seconds
	FROM somamem._tenant_lag() AS t;

COMMENT ON VIEW somamem.tenant_lag IS
	'backlog of each tenant at each enabled sink of this database; to a role that is bound to a tenant, its own';
COMMENT ON COLUMN somamem.tenant_lag.tenant IS 'tenant; other: those beyond somamem.metrics_tenants together';
COMMENT ON COLUMN somamem.tenant_lag.sink IS 'name of the sink';
COMMENT ON COLUMN somamem.tenant_lag.pending IS 'committed rows of the tenant that the sink has not acknowledged';
COMMENT ON COLUMN somamem.tenant_lag.oldest_pending_at IS
	'commit of the oldest of them, or a moment before it while it is not read yet; null when there is none';
COMMENT ON COLUMN somamem.tenant_lag.lag_seconds IS 'age of that moment, 0 when there is none';

CREATE VIEW somamem.sla WITH (security_barrier) AS
	SELECT s.sink, s."window", s.deliveries, s.p50_ms, s.p95_ms, s.p99_ms, s.target_p50_ms, s.target_p95_ms, s.met
	FROM somamem._sla() AS s;

COMMENT ON VIEW somamem.sla IS
	'time from commit to acknowledgement, since the server started at the most; empty for a role that is bound to a tenant';
COMMENT ON COLUMN somamem.sla.sink IS 'name of the sink';
COMMENT ON COLUMN somamem.sla."window" IS 'time that it is about, up to now: 1 min, 5 min or 1 h';
COMMENT ON COLUMN somamem.sla.deliveries IS 'rows that the sink acknowledged in that time';
COMMENT ON COLUMN somamem.sla.p50_ms IS 'milliseconds that half of them took at the most, right to a tenth; null without any';
COMMENT ON COLUMN somamem.sla.p95_ms IS 'milliseconds that 95 of 100 of them took at the most; null without any';
COMMENT ON COLUMN somamem.sla.p99_ms IS 'milliseconds that 99 of 100 of them took at the most; null without any';
COMMENT ON COLUMN somamem.sla.target_p50_ms IS 'somamem.sla_p50 in milliseconds';
COMMENT ON COLUMN somamem.sla.target_p95_ms IS 'somamem.sla_p95 in milliseconds';
COMMENT ON COLUMN somamem.sla.met IS
	'whether both targets are met; without deliveries false where a row has waited for longer than the second, else null';

/*
 * Who may not see a row may not be told of it by estimates of EXPLAIN either:
 * what ANALYZE keeps of a column are frequent values and a histogram of all.
 */
DO $$
DECLARE
	v_column name;
BEGIN
	FOR v_column IN SELECT a.attname FROM pg_catalog.pg_attribute a
		WHERE a.attrelid = 'somamem.dead_letter'::regclass AND a.attnum > 0 AND a.attname <> 'sink'
	LOOP
		EXECUTE pg_catalog.format('ALTER TABLE somamem.dead_letter ALTER COLUMN %I SET STATISTICS 0', v_column);
	END LOOP;
END
$$;

CREATE VIEW somamem.dead_letters WITH (security_barrier) AS
	SELECT d.sink, d.id, d.tenant, d.session_id, d.idempotency_key, d.payload, d.class, d.reason, d.attempts,
		d.created_at, d.died_at
	FROM somamem.dead_letter d
	WHERE (SELECT somamem._bound_tenant()) IS NULL OR d.tenant = (SELECT somamem._bound_tenant());

COMMENT ON VIEW somamem.dead_letters IS
	'rows that a sink refused for good; to a role that is bound to a tenant, those of that tenant';
COMMENT ON COLUMN somamem.dead_letters.sink IS 'sink that refused the row';
COMMENT ON COLUMN somamem.dead_letters.id IS 'id of the write';
COMMENT ON COLUMN somamem.dead_letters.tenant IS 'tenant that the row belongs to';
COMMENT ON COLUMN somamem.dead_letters.session_id IS 'session that the row belonged to, and whose order it has left';
COMMENT ON COLUMN somamem.dead_letters.idempotency_key IS 'key of the write';
COMMENT ON COLUMN somamem.dead_letters.payload IS 'payload as it was stored';
COMMENT ON COLUMN somamem.dead_letters.created_at IS 'when it was written';
COMMENT ON COLUMN somamem.dead_letters.died_at IS 'when it was given up';
COMMENT ON COLUMN somamem.dead_letters.class IS 'short and stable name of the reason, such as http_422 or too_large';
COMMENT ON COLUMN somamem.dead_letters.reason IS 'what the sink said';
COMMENT ON COLUMN somamem.dead_letters.attempts IS 'attempts that were the row''s own failure';

/*
 * Purpose: where one row is, for each enabled sink.
 * Returns: no row when the id is not known, or null.
 * Not STRICT, so that it is inlined into its caller's plan.  "IS NOT DISTINCT FROM" keeps the planner from reading a
 * sink's whole log by the primary key: the range of ids is what finds the page.
 */
CREATE FUNCTION somamem._delivery(
	row_id bigint,
	OUT sink text,
	OUT state text,
	OUT attempts integer,
	OUT delivered_at timestamptz,
	OUT receipt jsonb,
	OUT last_error text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $$
	SELECT e.sink,
		CASE
			WHEN w.state IS NOT NULL THEN w.state
			WHEN d.id IS NOT NULL THEN 'dead'
			WHEN p.state IN ('retry', 'held') THEN 'in_retry'
			WHEN p.id IS NOT NULL THEN 'pending'
			WHEN s.id IS NOT NULL OR o.settled THEN 'delivered'
			ELSE 'pending'
		END,
		coalesce(w.attempts, d.attempts, p.attempts, CASE WHEN s.id IS NOT NULL OR o.settled THEN 1 ELSE 0 END),
		CASE WHEN d.id IS NULL AND p.id IS NULL THEN s.delivered_at[pg_catalog.array_position(s.ids, $1)] END,
		CASE WHEN d.id IS NULL AND p.id IS NULL AND w.state IS NULL
			THEN (s.receipts::json -> (pg_catalog.array_position(s.ids, $1) - 1))::jsonb END,
		coalesce(d.reason, p.last_error)
	FROM somamem._sink_figures() AS e
	LEFT JOIN LATERAL (SELECT n.from_snapshot, n.from_high, n.from_next_xid, n.system_identifier
		FROM somamem.shipment n WHERE n.sink = e.sink ORDER BY n.id DESC LIMIT 1) AS n ON true
	LEFT JOIN LATERAL (SELECT coalesce((pg_catalog.pg_visible_in_snapshot(r.xid, n.from_snapshot)
			OR r.xid >= n.from_next_xid AND r.id <= n.from_high)
			AND n.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)
			AND NOT EXISTS (SELECT 1 FROM somamem.detour v WHERE v.sink = e.sink AND v.tenant = r.tenant
				AND NOT (pg_catalog.pg_visible_in_snapshot(r.xid, v.from_snapshot)
					OR r.xid >= v.from_next_xid AND r.id <= v.from_high)
				AND (v.until_snapshot IS NULL OR pg_catalog.pg_visible_in_snapshot(r.xid, v.until_snapshot))), false)
			AS settled
		FROM somamem.outbox r WHERE r.id = $1 AND r.xid <> '3' LIMIT 1) AS o ON true
	LEFT JOIN LATERAL (SELECT l.id, l.ids, l.receipts, l.delivered_at FROM somamem.shipment l
		WHERE l.first_id IS NOT NULL AND pg_catalog.int8range(l.first_id, l.last_id, '[]') @> $1
			AND l.sink IS NOT DISTINCT FROM e.sink AND $1 = ANY (l.ids) ORDER BY l.id DESC LIMIT 1) AS s ON true
	LEFT JOIN somamem.parked p ON p.sink = e.sink AND p.id = $1
	LEFT JOIN somamem.dead_letter d ON d.sink = e.sink AND d.id = $1
	LEFT JOIN LATERAL (SELECT w.state, w.attempts FROM somamem.withdrawn w WHERE w.id = $1 AND w.sink IN (e.sink, '*')
		ORDER BY w.state DESC LIMIT 1) AS w ON true
	WHERE o.settled IS NOT NULL OR s.id IS NOT NULL OR p.id IS NOT NULL OR d.id IS NOT NULL OR w.state IS NOT NULL
$$;

COMMENT ON FUNCTION somamem._delivery(bigint) IS 'where one row is, for each enabled sink';

/*
 * Purpose: whether a row is a tenant's.
 * Returns: whether anything stands there that says so; false for a copy, whose id may be another row's, too.
 */
CREATE FUNCTION somamem._is_of(row_id bigint, tenant text)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $$
	SELECT EXISTS (SELECT 1 FROM somamem.outbox o WHERE o.id = $1 AND o.tenant = $2 AND o.xid <> '3')
		OR EXISTS (SELECT 1 FROM somamem._sink_figures() AS f JOIN somamem.parked p ON p.sink = f.sink
			WHERE p.id = $1 AND p.tenant = $2)
		OR EXISTS (SELECT 1 FROM somamem._sink_figures() AS f JOIN somamem.dead_letter d ON d.sink = f.sink
			WHERE d.id = $1 AND d.tenant = $2)
$$;

COMMENT ON FUNCTION somamem._is_of(bigint, text) IS 'whether a row is a tenant''s';

/*
 * Purpose: the ledger's hash of a key.
 * Returns: the value of idempotency.key_hash.
 */
CREATE FUNCTION somamem._key_hash(tenant text, idempotency_key text)
RETURNS uuid
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'somamem_key_hash';

COMMENT ON FUNCTION somamem._key_hash(text, text) IS 'hash under which the ledger knows a tenant''s key';

/*
 * Purpose: the state of one write.
 * Returns: one row per enabled sink: pending, in_retry, delivered, dead, discarded or erased; none for
 *   an unknown id, as which another tenant's row counts for a caller who is bound to one.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.status(
	id bigint,
	OUT sink text,
	OUT state text,
	OUT attempts integer,
	OUT delivered_at timestamptz,
	OUT receipt jsonb,
	OUT last_error text)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_status_by_id';

COMMENT ON FUNCTION somamem.status(bigint) IS 'state of one write at each enabled sink, by id';

/*
 * Purpose: the state of one write, for who knows its key only.
 * Returns: as status(id); a write whose payload is long gone is delivered, without a receipt.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.status(
	tenant text,
	idempotency_key text,
	OUT sink text,
	OUT state text,
	OUT attempts integer,
	OUT delivered_at timestamptz,
	OUT receipt jsonb,
	OUT last_error text)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_status_by_key';

COMMENT ON FUNCTION somamem.status(text, text) IS 'state of one write at each enabled sink, by tenant and idempotency key';

/*
 * Purpose: waits until a row is acknowledged.
 * Returns: true as soon as the sink (each enabled one where NULL) has acknowledged it; false at the timeout, or
 * when it became a dead letter.  For a caller who is bound to a tenant, a row of another one is like none: false at the
 * timeout.
 * Raises: 55000 for a row that this transaction wrote, and for a sink that is off; 22023 for an unknown sink.
 */
CREATE FUNCTION somamem.wait_for(id bigint, sink text DEFAULT NULL, timeout interval DEFAULT '30 s')
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_wait_for';

COMMENT ON FUNCTION somamem.wait_for(bigint, text, interval) IS 'waits until a sink, or each enabled one, has acknowledged a write';
