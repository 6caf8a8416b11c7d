-- A bound role writes for its tenant alone, whoever it pretends to be.
BEGIN;
SELECT plan(29);

CREATE ROLE bound_a;
CREATE ROLE bound_b;
CREATE ROLE free_app;
CREATE ROLE "Bound Admin";
GRANT somamem_writer, somamem_reader TO bound_a, bound_b, free_app;
GRANT somamem_admin TO "Bound Admin";
GRANT bound_a, bound_b, free_app TO CURRENT_USER;
GRANT free_app TO bound_a;
GRANT USAGE ON SCHEMA public TO PUBLIC;

CREATE FUNCTION pg_temp.memory(tenant text, meta text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'c', 'session_id', 's',
		'tenant', tenant, 'metadata', jsonb_build_object('tenant', meta)))$$;
CREATE FUNCTION pg_temp.tenant_of(key text) RETURNS text LANGUAGE sql AS $$SELECT split_part(key, '/', 1)$$;

/* bind_tenant */
SELECT lives_ok($$SELECT somamem.bind_tenant('bound_a', 'acme')$$, 'a role is bound');
SELECT lives_ok($$SELECT somamem.bind_tenant('bound_b', 'zeta')$$, 'another one is');
SELECT throws_ok($$SELECT somamem.bind_tenant('no_such_role', 'acme')$$, '42704', NULL, 'an unknown role is refused');
SELECT throws_ok($$SELECT somamem.unbind_tenant('no_such_role')$$, '42704', NULL, 'by unbind_tenant, too');
SELECT throws_ok($$SELECT somamem.bind_tenant(NULL, 'acme')$$, '22004', NULL, 'a null role is refused');
SELECT throws_ok($$SELECT somamem.bind_tenant('bound_a', NULL)$$, '22004', NULL, 'a null tenant is refused');
SELECT throws_ok($$SELECT somamem.unbind_tenant(NULL)$$, '22004', NULL, 'unbind_tenant refuses a null role');
SELECT throws_ok($$SELECT somamem.bind_tenant('bound_a', '')$$, '22023', NULL, 'an empty tenant is refused');
SELECT throws_ok($$SELECT somamem.bind_tenant('bound_a', repeat('x', 257))$$, '22023', NULL, 'one that is too long, too');
SELECT throws_ok($$SELECT somamem.bind_tenant('bound_a', E'a\nb')$$, '22023', NULL, 'and one with control characters');
SELECT lives_ok($$SELECT somamem.bind_tenant('free_app', repeat('x', 256))$$, '256 bytes are not too long');
SELECT lives_ok($$SELECT somamem.unbind_tenant('free_app'), somamem.unbind_tenant('free_app')$$,
	'unbinding twice is no error');
SELECT results_eq($$SELECT role::text, tenant FROM somamem.tenant_binding ORDER BY 1$$,
	$$VALUES ('bound_a', 'acme'), ('bound_b', 'zeta')$$, 'and that is what is bound');
ALTER ROLE bound_a RENAME TO bound_a2;
SELECT is((SELECT tenant FROM somamem.tenant_binding WHERE role = 'bound_a2'::regrole), 'acme', 'a new name frees nobody');
ALTER ROLE bound_a2 RENAME TO bound_a;

/* Writing */
SET LOCAL SESSION AUTHORIZATION bound_a;
SELECT is((SELECT pg_temp.tenant_of(idempotency_key) FROM somamem.memory_write(pg_temp.memory(NULL))), 'acme',
	'where no tenant is named, it is the bound one');
SELECT is((SELECT pg_temp.tenant_of(idempotency_key) FROM somamem.memory_write(pg_temp.memory('acme', 'acme'), 'acme')),
	'acme', 'the bound tenant may be named');
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory('zeta'))$$, '42501',
	'payload field "tenant" contradicts the tenant that the role is bound to', 'the payload names another one in vain');
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory(NULL, 'zeta'))$$, '42501',
	'payload field "metadata.tenant" contradicts the tenant that the role is bound to', 'so do its metadata');
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory(NULL), 'zeta')$$, '42501',
	'argument "tenant" contradicts the tenant that the role is bound to', 'and the argument');
SELECT throws_ok($$SELECT somamem.memory_write_batch(jsonb_build_array(pg_temp.memory(NULL), pg_temp.memory('zeta')))$$,
	'42501', 'payload 2 field "tenant" contradicts the tenant that the role is bound to', 'a batch is refused whole');
SELECT is((SELECT pg_temp.tenant_of(idempotency_key)
	FROM somamem.memory_write_batch(jsonb_build_array(pg_temp.memory(NULL)))), 'acme', 'and written for the tenant otherwise');
SET LOCAL ROLE free_app;
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory('zeta'))$$, '42501', NULL, 'SET ROLE does not free');
RESET ROLE;
RESET SESSION AUTHORIZATION;

SET LOCAL SESSION AUTHORIZATION free_app;
SELECT is((SELECT pg_temp.tenant_of(idempotency_key) FROM somamem.memory_write(pg_temp.memory('zeta'))), 'zeta',
	'a role that is not bound writes for anybody');
RESET SESSION AUTHORIZATION;
SET LOCAL ROLE bound_a;
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory('zeta'))$$, '42501', NULL, 'SET ROLE binds');
RESET ROLE;
SET LOCAL SESSION AUTHORIZATION bound_a;
SAVEPOINT s;
RESET SESSION AUTHORIZATION;
GRANT bound_b TO bound_a;
SET LOCAL SESSION AUTHORIZATION bound_a;
SET LOCAL ROLE bound_b;
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory('acme'))$$, '42501',
	'roles "bound_a" and "bound_b" are bound to different tenants', 'two bindings are a contradiction');
ROLLBACK TO s;
RESET SESSION AUTHORIZATION;

/* Who may bind */
SET LOCAL SESSION AUTHORIZATION bound_a;
SELECT throws_ok($$SELECT somamem.unbind_tenant('bound_a')$$, '42501', NULL, 'a writer may not unbind');
RESET SESSION AUTHORIZATION;
SET LOCAL SESSION AUTHORIZATION "Bound Admin";
SELECT lives_ok($$SELECT somamem.bind_tenant('Bound Admin', 'acme')$$, 'an administrator may bind itself');
SELECT throws_ok($$SELECT somamem.unbind_tenant('Bound Admin')$$, '42501', NULL, 'but not set itself free');
RESET SESSION AUTHORIZATION;

SELECT somamem.bind_tenant(session_user, 'acme');
SELECT throws_ok($$SELECT somamem.memory_write(pg_temp.memory('zeta'))$$, '42501', NULL, 'a superuser can be bound, too');

SELECT * FROM finish();
ROLLBACK;
