/*
 * SQL face of bound tenants: bind_tenant, unbind_tenant, and what views ask.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "outbox/payload.h"
#include "pg/definer.h"
#include "policy/binding.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(somamem_bind_tenant);
PG_FUNCTION_INFO_V1(somamem_unbind_tenant);
PG_FUNCTION_INFO_V1(somamem_bound_tenant);
PG_FUNCTION_INFO_V1(somamem_binding_changed);

static Oid
role_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"role\" must not be null")));
	return get_role_oid(NameStr(*PG_GETARG_NAME(0)), false);
}

/* What memory_write would refuse is no tenant. */
static text *
tenant_argument(FunctionCallInfo fcinfo)
{
	SmemWriteArgs args = {{0}};
	text		 *tenant;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"tenant\" must not be null")));
	tenant = PG_GETARG_TEXT_PP(1);
	args.tenant = (SmemStr){VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant)};
	smem_write_check_args(&args);
	return tenant;
}

static void
run(const char *sql, int nargs, Datum *args)
{
	Oid types[2] = {OIDOID, TEXTOID};

	if (SPI_execute_with_args(sql, nargs, types, args, NULL, false, 0) < 0)
		elog(ERROR, "could not change the bindings");
}

/* Changes the table with its owner's rights. */
static void
change(const char *function, const char *sql, int nargs, Datum *args)
{
	SmemDefiner definer;

	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	smem_definer_enter(&definer);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* A role that is gone is not asked for any more; one that gets its oid should not be bound. */
	run("DELETE FROM somamem.tenant_binding AS b WHERE NOT EXISTS"
		" (SELECT 1 FROM pg_catalog.pg_roles AS r WHERE r.oid = b.role)",
		0, NULL);
	run(sql, nargs, args);
	SPI_finish();
	smem_definer_leave(&definer);
}

Datum
somamem_bind_tenant(PG_FUNCTION_ARGS)
{
	Datum args[2];

	smem_binding_refuse(fcinfo, "bind_tenant()");
	args[0] = ObjectIdGetDatum(role_argument(fcinfo));
	args[1] = PointerGetDatum(tenant_argument(fcinfo));
	change("bind_tenant()",
		   "INSERT INTO somamem.tenant_binding (role, tenant) VALUES ($1::pg_catalog.regrole, $2)"
		   " ON CONFLICT (role) DO UPDATE SET tenant = EXCLUDED.tenant",
		   2, args);
	PG_RETURN_VOID();
}

Datum
somamem_unbind_tenant(PG_FUNCTION_ARGS)
{
	Datum args[1];

	smem_binding_refuse(fcinfo, "unbind_tenant()");
	args[0] = ObjectIdGetDatum(role_argument(fcinfo));
	change("unbind_tenant()", "DELETE FROM somamem.tenant_binding AS b WHERE b.role = $1", 1, args);
	PG_RETURN_VOID();
}

Datum
somamem_bound_tenant(PG_FUNCTION_ARGS)
{
	SmemStr bound;

	if (!smem_bound_tenant(fcinfo, &bound))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(bound.data, bound.len));
}

/* Every session forgets what it knows of the table when this transaction has committed. */
Datum
somamem_binding_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("trigger functions can only be called as triggers")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
