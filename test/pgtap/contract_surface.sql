-- The names that others are written against: functions, views, columns, and that PUBLIC has nothing.
BEGIN;
SELECT plan(24);

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

SELECT columns_are('somamem', 'outbox_status',
	ARRAY['sink', 'pending', 'parked', 'dead', 'oldest_pending_at', 'lag_seconds', 'position']);
SELECT columns_are('somamem', 'dead_letters',
	ARRAY['sink', 'id', 'tenant', 'session_id', 'idempotency_key', 'payload', 'class', 'reason', 'attempts',
		'created_at', 'died_at']);
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
	SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE pronamespace = 'somamem'::regnamespace AND l.lanname = 'plpgsql'$$,
	'no function is PL/pgSQL');
SELECT is_empty($$
	SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'somamem'
	WHERE (c.relkind = 'r' AND c.relname NOT IN ('segment') OR c.relkind = 'S')
		AND NOT c.oid = ANY (e.extconfig)$$,
	'pg_dump takes every table along but the ring''s state');

SELECT throws_ok($$SELECT somamem.wait_for(1, 'nowhere')$$, '22023', NULL, 'wait_for refuses an unknown sink');
SELECT throws_ok($$SELECT somamem.wait_for(NULL)$$, '22004', NULL, 'wait_for refuses a null id');
SELECT throws_ok($$SELECT somamem.wait_for(1)$$, '55000', NULL, 'wait_for says that no sink is enabled');
SELECT is_empty($$SELECT * FROM somamem.status(9223372036854775807)$$, 'status knows nothing of an unknown id');

SELECT * FROM finish();
ROLLBACK;
