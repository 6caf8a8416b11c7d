-- The names that others are written against: functions, views, columns, and that PUBLIC has nothing.
BEGIN;
SELECT plan(54);

SELECT has_schema('somamem');
SELECT has_function('somamem', 'memory_write',
	ARRAY['jsonb', 'text', 'text', 'text', 'text', 'text', 'timestamp with time zone', 'text']);
SELECT has_function('somamem', 'memory_write_batch', ARRAY['jsonb', 'text', 'text', 'text']);
SELECT has_function('somamem', 'health', ARRAY[]::text[]);
SELECT function_returns('somamem', 'health', ARRAY[]::text[], 'jsonb');
SELECT has_function('somamem', 'status', ARRAY['bigint']);
SELECT has_function('somamem', 'status', ARRAY['text', 'text']);
SELECT has_function('somamem', 'wait_for', ARRAY['bigint', 'text', 'interval']);
SELECT function_returns('somamem', 'wait_for', ARRAY['bigint', 'text', 'interval'], 'boolean');

SELECT has_function('somamem', 'pause', ARRAY['text']);
SELECT has_function('somamem', 'resume', ARRAY['text']);
SELECT function_returns('somamem', 'retry', ARRAY['text', 'bigint'], 'bigint');
SELECT function_returns('somamem', 'redrive', ARRAY['text', 'text', 'bigint'], 'bigint');
SELECT function_returns('somamem', 'discard', ARRAY['text', 'bigint'], 'boolean');
SELECT function_returns('somamem', 'replay', ARRAY['text', 'bigint', 'bigint', 'text'], 'bigint');
SELECT function_returns('somamem', 'erase', ARRAY['text', 'text'], 'bigint');

SELECT function_returns('somamem', 'bind_tenant', ARRAY['name', 'text'], 'void');
SELECT function_returns('somamem', 'unbind_tenant', ARRAY['name'], 'void');
SELECT has_role('somamem_writer');
SELECT has_role('somamem_reader');
SELECT has_role('somamem_admin');
SELECT is_empty($$SELECT 1 FROM pg_roles WHERE rolname ~ '^somamem_' AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb)$$,
	'and these roles are groups, no more');

SELECT columns_are('somamem', 'outbox_status',
	ARRAY['sink', 'pending', 'parked', 'dead', 'oldest_pending_at', 'lag_seconds', 'position']);
SELECT columns_are('somamem', 'dead_letters',
	ARRAY['sink', 'id', 'tenant', 'session_id', 'idempotency_key', 'payload', 'class', 'reason', 'attempts',
		'created_at', 'died_at']);
SELECT columns_are('somamem', 'tenant_lag',
	ARRAY['tenant', 'sink', 'pending', 'oldest_pending_at', 'lag_seconds']);
SELECT columns_are('somamem', 'sla',
	ARRAY['sink', 'window', 'deliveries', 'p50_ms', 'p95_ms', 'p99_ms', 'target_p50_ms', 'target_p95_ms', 'met']);
SELECT columns_are('somamem', 'policy_stats',
	ARRAY['action', 'resource', 'decision', 'engine', 'count', 'p50_ms', 'p99_ms']);
SELECT is_empty($$
	SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'somamem'::regnamespace AND c.relkind = 'v' AND col_description(c.oid, a.attnum) IS NULL$$,
	'each column of each view says what it is');
SELECT ok((SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'somamem.workers'::regclass AND attnum BETWEEN 1 AND 7)
	= ARRAY['pid', 'database', 'sink', 'state', 'circuit', 'last_error', 'last_success_at'],
	'workers begins with the columns of the contract');

SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE pronamespace = 'somamem'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')$$,
	'PUBLIC may call nothing');
SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_class c
	WHERE relnamespace = 'somamem'::regnamespace AND relkind IN ('r', 'p', 'v')
		AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE')$$,
	'PUBLIC may read and write no table');
SELECT ok(NOT has_schema_privilege('public', 'somamem', 'USAGE'), 'PUBLIC may not look into the schema');

SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE pronamespace = 'somamem'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL$$,
	'every function has a comment');
SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_class c
	WHERE relnamespace = 'somamem'::regnamespace AND relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NULL$$,
	'every view has a comment');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE pronamespace = 'somamem'::regnamespace AND prosecdef AND proconfig IS NULL$$,
	'what runs with its owner''s rights pins the search path');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE pronamespace = 'somamem'::regnamespace AND prosrc LIKE 'somamem%' AND proname !~ '^_'
		AND proname NOT IN ('memory_write', 'memory_write_batch', 'authorize', 'health')
		AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))$$,
	'and so does each public function but those that run no SQL');
SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_class c
	WHERE relnamespace = 'somamem'::regnamespace AND relkind = 'v'
		AND NOT 'security_barrier=true' = ANY (coalesce(reloptions, '{}'))$$,
	'every view is a security barrier');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE pronamespace = 'somamem'::regnamespace AND l.lanname = 'plpgsql'$$,
	'no function is PL/pgSQL');
SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'somamem'
	WHERE (c.relkind = 'r' AND c.relname NOT IN ('segment') OR c.relkind = 'S')
		AND NOT c.oid = ANY (e.extconfig)$$,
	'pg_dump takes every table along but the ring''s state');

/* What erase must know.  A table that holds nothing of a tenant's is named here, with the reason. */
CREATE TEMPORARY TABLE without_tenants (relation name, reason text);
INSERT INTO without_tenants VALUES
	('idempotency', 'hashes of keys, which stay so that a late retry brings nothing back'),
	('segment', 'times of the ring'),
	('sink_state', 'what operators decided for a sink'),
	('withdrawn', 'ids'),
	('ahead', 'ids'),
	('tenant_binding', 'what operators decided for a role; without it the role would be free');
SELECT bag_eq($$
	SELECT c.relname::text FROM pg_class c
	WHERE c.relnamespace = 'somamem'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition$$, $$
	SELECT relation FROM somamem._tenant_tables() UNION ALL SELECT relation::text FROM without_tenants$$,
	'each table is known to erase, or to hold nothing of a tenant''s');
SELECT is_empty($$
	SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	JOIN without_tenants w ON w.relation = c.relname
	WHERE c.relnamespace = 'somamem'::regnamespace AND a.attnum > 0
		AND a.attname ~ 'tenant|session|payload|receipt|content|reason|error|idempotency_key'
		AND a.attname NOT IN ('payload_hash') AND (w.relation, a.attname) <> ('tenant_binding', 'tenant')$$,
	'and no column of the latter is named as if it did');

SELECT throws_ok($$SELECT somamem.pause('nowhere')$$, '22023', NULL, 'pause refuses an unknown sink');
SELECT throws_ok($$SELECT somamem.resume(NULL)$$, '22004', NULL, 'resume refuses a null sink');
SELECT throws_ok($$SELECT somamem.erase(NULL)$$, '22004', NULL, 'erase refuses a null tenant');
SELECT lives_ok($$SELECT somamem.pause('kafka'), somamem.pause('kafka')$$, 'a sink may be paused twice');
SELECT is((SELECT paused_by FROM somamem.sink_state WHERE paused_at IS NOT NULL), session_user::text, 'it is noted who did it');
SELECT lives_ok($$SELECT somamem.resume('kafka'), somamem.resume('somabrain')$$, 'and resumed, paused or not');
SELECT is(somamem.retry('kafka'), 0::bigint, 'retry finds nothing waiting');
SELECT is(somamem.replay('kafka', 2, 1), 0::bigint, 'replay of an empty range does nothing');
SELECT is(somamem.discard('kafka', 1), false, 'discard says that there is no such row');

SELECT throws_ok($$SELECT somamem.wait_for(1, 'nowhere')$$, '22023', NULL, 'wait_for refuses an unknown sink');
SELECT throws_ok($$SELECT somamem.wait_for(NULL)$$, '22004', NULL, 'wait_for refuses a null id');
SELECT throws_ok($$SELECT somamem.wait_for(1)$$, '55000', NULL, 'wait_for says that no sink is enabled');
SELECT is_empty($$SELECT * FROM somamem.status(9223372036854775807)$$, 'status knows nothing of an unknown id');

SELECT * FROM finish();
ROLLBACK;
