/*
 * Bound tenants: a role that is bound writes for its tenant alone, and every
 * view and function shows it nothing of another one.
 *
 * Bound is a session whose session user, user of SET ROLE or current user is.
 * src/policy/binding.c reads the table; whoever adds a view or a function that
 * shows anything of a tenant asks _bound_tenant() there, or smem_bound_tenant
 * in C.
 */
CREATE TABLE somamem.tenant_binding
(
	role		regrole PRIMARY KEY,
	tenant		text NOT NULL
);

COMMENT ON TABLE somamem.tenant_binding IS 'roles that are bound to a tenant';

/* A role that is gone has a number for a name, which on another server may be anybody's. */
SELECT pg_catalog.pg_extension_config_dump('somamem.tenant_binding',
	'WHERE role::pg_catalog.oid IN (SELECT r.oid FROM pg_catalog.pg_roles AS r)');

/*
 * Purpose: tells every session that the bindings have changed.
 * Returns: nothing.
 */
CREATE FUNCTION somamem._binding_changed()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'somamem_binding_changed';

COMMENT ON FUNCTION somamem._binding_changed() IS 'tells every session that the bindings have changed';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON somamem.tenant_binding
	FOR EACH STATEMENT EXECUTE FUNCTION somamem._binding_changed();
ALTER TABLE somamem.tenant_binding ENABLE ALWAYS TRIGGER changed;

/* A publisher's roles are not this server's (15_replica.sql). */
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.tenant_binding
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
ALTER TABLE somamem.tenant_binding ENABLE REPLICA TRIGGER copy;

/*
 * Purpose: the tenant that the caller is bound to; what views ask.
 * Returns: null where it is not bound.
 * Raises: 42501 where two roles that count are bound to different tenants.
 */
CREATE FUNCTION somamem._bound_tenant()
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'somamem_bound_tenant';

COMMENT ON FUNCTION somamem._bound_tenant() IS 'tenant that the caller is bound to, null where there is none';

/*
 * Purpose: binds a role to a tenant, or to another one than before.
 * Returns: nothing.
 * Raises: 42704 for an unknown role, 22004 for NULL, 22023 for a tenant that
 *   memory_write would refuse, 42501 where the caller is bound itself.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.bind_tenant(role name, tenant text)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_bind_tenant';

COMMENT ON FUNCTION somamem.bind_tenant(name, text) IS 'binds a role to a tenant: it writes and sees that tenant only';

/*
 * Purpose: ends a binding.
 * Returns: nothing; a role that is not bound stays so.
 * Raises: 42704 for an unknown role, 22004 for NULL, 42501 where the caller is
 *   bound itself.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.unbind_tenant(role name)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_unbind_tenant';

COMMENT ON FUNCTION somamem.unbind_tenant(name) IS 'ends the binding of a role to a tenant';
