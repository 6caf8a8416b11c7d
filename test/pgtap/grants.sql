-- Who may use what: every privilege in the schema stands here, and a new object fails until it does.
BEGIN;
SELECT plan(12);

/* Every privilege on the extension's objects that is not their owner's. */
CREATE TEMPORARY VIEW granted AS
	SELECT object COLLATE "default" AS object, coalesce(r.rolname, 'PUBLIC')::text AS grantee, privilege_type AS privilege FROM (
		SELECT 'schema'::text AS object, nspacl AS acl, acldefault('n', nspowner) AS usual, nspowner AS owner
		FROM pg_namespace WHERE nspname = 'somamem'
		UNION ALL SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')', proacl, acldefault('f', proowner), proowner
		FROM pg_proc WHERE pronamespace = to_regnamespace('somamem')
		UNION ALL SELECT relname, relacl, acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner), relowner
		FROM pg_class WHERE relnamespace = to_regnamespace('somamem') AND relkind NOT IN ('i', 'I', 'c')
		UNION ALL SELECT c.relname || '.' || a.attname, a.attacl, NULL, c.relowner
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relnamespace = to_regnamespace('somamem') AND a.attacl IS NOT NULL
		UNION ALL SELECT 'type ' || t.typname, t.typacl, acldefault('T', t.typowner), t.typowner
		FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
		WHERE t.typnamespace = to_regnamespace('somamem') AND t.typcategory <> 'A' AND (c.oid IS NULL OR c.relkind = 'c')
	) AS o CROSS JOIN LATERAL aclexplode(coalesce(o.acl, o.usual)) AS x
	LEFT JOIN pg_roles r ON r.oid = x.grantee
	WHERE x.grantee <> o.owner;

CREATE TEMPORARY TABLE named (object text, writer boolean, reader boolean, admin boolean);
INSERT INTO named VALUES
	('schema', true, true, true),
	('type write_receipt', true, false, true),
	('memory_write(payload jsonb, tenant text, session_id text, idempotency_key text, namespace text, persona_id text,'
		' deliver_after timestamp with time zone, traceparent text)', true, false, true),
	('memory_write_batch(payloads jsonb, tenant text, session_id text, namespace text)', true, false, true),
	('wait_for(id bigint, sink text, timeout interval)', true, false, true),
	('authorize(input jsonb, OUT allow boolean, OUT reason text, OUT engine text)', true, false, true),
	('health()', true, true, true),
	('status(id bigint, OUT sink text, OUT state text, OUT attempts integer, OUT delivered_at timestamp with time zone,'
		' OUT receipt jsonb, OUT last_error text)', true, true, true),
	('status(tenant text, idempotency_key text, OUT sink text, OUT state text, OUT attempts integer,'
		' OUT delivered_at timestamp with time zone, OUT receipt jsonb, OUT last_error text)', true, true, true),
	('outbox_status', false, true, true),
	('workers', false, true, true),
	('tenant_lag', false, true, true),
	('sla', false, true, true),
	('dead_letters', false, true, true),
	('policy_stats', false, true, true),
	('decision_log', false, true, true),
	('_policy_stats(OUT action text, OUT resource text, OUT decision text, OUT engine text, OUT count bigint,'
		' OUT p50_ms double precision, OUT p99_ms double precision)', false, true, true),
	('_decision_log(OUT refused_at timestamp with time zone, OUT action text, OUT resource text, OUT tenant text, OUT role text,'
		' OUT reason text, OUT engine text, OUT dry_run boolean)', false, true, true),
	('_bound_tenant()', false, true, true),
	('_sink_figures(OUT sink text, OUT pending bigint, OUT parked bigint, OUT dead bigint,'
		' OUT oldest_pending_at timestamp with time zone, OUT lag_seconds double precision)', false, true, true),
	('_workers(OUT pid integer, OUT database text, OUT sink text, OUT state text, OUT circuit text, OUT last_error text,'
		' OUT last_success_at timestamp with time zone, OUT courier_pid integer, OUT started_at timestamp with time zone)',
		false, true, true),
	('_tenant_lag(OUT tenant text, OUT sink text, OUT pending bigint, OUT oldest_pending_at timestamp with time zone,'
		' OUT lag_seconds double precision)', false, true, true),
	('_sla(OUT sink text, OUT "window" text, OUT deliveries bigint, OUT p50_ms double precision, OUT p95_ms double precision,'
		' OUT p99_ms double precision, OUT target_p50_ms double precision, OUT target_p95_ms double precision,'
		' OUT met boolean)', false, true, true),
	('pause(sink text)', false, false, true),
	('resume(sink text)', false, false, true),
	('retry(sink text, id bigint)', false, false, true),
	('redrive(sink text, tenant text, id bigint)', false, false, true),
	('discard(sink text, id bigint)', false, false, true),
	('replay(sink text, from_id bigint, to_id bigint, tenant text)', false, false, true),
	('erase(tenant text, session_id text)', false, false, true),
	('bind_tenant(role name, tenant text)', false, false, true),
	('unbind_tenant(role name)', false, false, true);

SELECT is_empty($$SELECT object, privilege FROM granted WHERE grantee = 'PUBLIC'$$, 'PUBLIC has nothing');
SELECT bag_eq($$SELECT object, grantee FROM granted$$,
	$$SELECT object, grantee FROM named, (VALUES ('somamem_writer', 1), ('somamem_reader', 2), ('somamem_admin', 3)) AS g(grantee, n)
	WHERE (ARRAY[writer, reader, admin])[n]$$, 'each group has what is its own, and nobody else has anything');
SELECT is_empty($$SELECT object, grantee FROM granted WHERE privilege NOT IN ('EXECUTE', 'SELECT', 'USAGE')$$,
	'nobody changes a thing but by the functions');
SELECT is_empty($$SELECT object FROM named WHERE NOT admin$$, 'an administrator may use all of it');

/* The queries above see what is added without a thought. */
SAVEPOINT thoughtless;
CREATE FUNCTION somamem.new_function() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT is((SELECT string_agg(object, ' ') FROM (SELECT object FROM granted WHERE grantee = 'PUBLIC') AS o), 'new_function()', 'a new function fails them');
ROLLBACK TO thoughtless;
CREATE TYPE somamem.new_type AS (a int);
SELECT is((SELECT string_agg(object, ' ') FROM (SELECT object FROM granted WHERE grantee = 'PUBLIC') AS o), 'type new_type', 'so does a new type');
ROLLBACK TO thoughtless;
GRANT SELECT ON somamem.outbox_3 TO PUBLIC;
SELECT is((SELECT string_agg(object, ' ') FROM (SELECT object FROM granted WHERE grantee = 'PUBLIC') AS o), 'outbox_3', 'so does a table');
ROLLBACK TO thoughtless;
GRANT SELECT (tenant) ON somamem.dead_letter TO somamem_reader;
SELECT is((SELECT string_agg(object, ' ') FROM (SELECT object FROM granted EXCEPT SELECT object FROM named) AS o), 'dead_letter.tenant', 'so does a column');
ROLLBACK TO thoughtless;
GRANT USAGE ON SEQUENCE somamem.outbox_id_seq TO PUBLIC;
SELECT is((SELECT string_agg(object, ' ') FROM (SELECT object FROM granted WHERE grantee = 'PUBLIC') AS o), 'outbox_id_seq', 'so does a sequence');
ROLLBACK TO thoughtless;

/* Not even where the database's defaults are generous. */
DROP EXTENSION somamem CASCADE;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC;
CREATE EXTENSION somamem;
SELECT is_empty($$SELECT object, privilege FROM granted WHERE grantee = 'PUBLIC'$$, 'generous defaults are taken back');

/* What dump and restore go by. */
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c LEFT JOIN pg_init_privs i ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
	WHERE c.relnamespace = 'somamem'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relacl IS DISTINCT FROM i.initprivs$$,
	'the grants on relations are the extension''s own');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p LEFT JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass
	WHERE p.pronamespace = 'somamem'::regnamespace AND p.proacl IS DISTINCT FROM i.initprivs$$, 'so are those on functions');

SELECT * FROM finish();
ROLLBACK;
