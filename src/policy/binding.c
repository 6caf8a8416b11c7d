/*
 * Looks up which tenant a session is bound to, and remembers it.
 *
 * What is remembered is forgotten when the table changes: a trigger on it
 * (somamem._binding_changed) sends an invalidation of the table, as for its
 * definition, so that a rollback takes it back and a standby hears of it.
 *
 * The table is read as catalogs are, with a snapshot of now.  That of a
 * repeatable read transaction may be older than a binding whose invalidation
 * has come already, and what it shows would be remembered for ever.
 */
#include "postgres.h"

#include "policy/binding.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "pg/compat.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* As bind_tenant checks it, and memory_write of any tenant. */
#define MAX_TENANT_BYTES 256

enum
{
	COLUMN_ROLE = 1,
	COLUMN_TENANT
};

typedef struct Binding
{
	Oid	 role; /* invalid: not bound */
	int	 len;
	char tenant[MAX_TENANT_BYTES];
} Binding;

/* Who asks.  All three count: none of SET ROLE, RESET ROLE and SECURITY DEFINER sets free. */
typedef struct Identity
{
	Oid session;
	Oid outer;
	Oid current;
} Identity;

typedef struct Known
{
	Identity identity;
	Binding	 binding;
} Known;

/* What was found since the table last changed. */
static Known  known[4];
static int	  nknown = 0;
static bool	  nobody = false; /* the table was empty */
static Oid	  watched = InvalidOid;
static uint64 changes = 0;

static void
forget(Datum arg, Oid relid)
{
	if (relid != watched && OidIsValid(relid))
		return;
	nknown = 0;
	nobody = false;
	changes++;
}

static void
watch(Oid table)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	watched = table;
}

static void
copy_tenant(Relation rel, HeapTuple tuple, Binding *binding)
{
	bool  isnull;
	Datum value = heap_getattr(tuple, COLUMN_TENANT, RelationGetDescr(rel), &isnull);
	text *tenant;

	/* A superuser may have written what bind_tenant would not.  Whatever it was, it is no way out. */
	if (isnull)
		elog(ERROR, "tenant of a bound role is null");
	tenant = DatumGetTextPP(value);
	if (VARSIZE_ANY_EXHDR(tenant) > MAX_TENANT_BYTES)
		elog(ERROR, "tenant of a bound role is too long");
	binding->len = VARSIZE_ANY_EXHDR(tenant);
	memcpy(binding->tenant, VARDATA_ANY(tenant), binding->len);
}

/* The binding of one role, into an empty one. */
static void
read_binding(Relation rel, Oid index, Oid role, Binding *binding)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, COLUMN_ROLE, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		copy_tenant(rel, tuple, binding);
		binding->role = role;
	}
	systable_endscan(scan);
}

static bool
is_empty(Relation rel)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		empty = !HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	return empty;
}

static void
refuse_two(Oid one, Oid other)
{
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("roles \"%s\" and \"%s\" are bound to different tenants",
						   GetUserNameFromId(one, false), GetUserNameFromId(other, false))));
}

/* The one binding of all who count. */
static void
read_bindings(Relation rel, const Identity *who, Binding *binding)
{
	const Oid roles[] = {who->session, who->outer, who->current};
	Oid		  index = smem_relation_oid("tenant_binding_pkey");

	binding->role = InvalidOid;
	for (int i = 0; i < lengthof(roles); i++)
	{
		Binding other = {InvalidOid};

		read_binding(rel, index, roles[i], &other);
		if (!OidIsValid(other.role))
			continue;
		if (!OidIsValid(binding->role))
			*binding = other;
		else if (binding->len != other.len || memcmp(binding->tenant, other.tenant, other.len) != 0)
			refuse_two(binding->role, other.role);
	}
}

/* NULL where nobody is bound. */
static const Binding *
look_up(const Identity *who)
{
	static Binding found;
	Relation	   rel;
	uint64		   before;
	bool		   empty;

	watch(smem_relation_oid("tenant_binding"));
	rel = table_open(watched, AccessShareLock);
	before = changes;
	empty = is_empty(rel);
	if (!empty)
		read_bindings(rel, who, &found);
	table_close(rel, AccessShareLock);
	/* What changed while it was read is read again by the next who asks. */
	if (changes == before)
	{
		nobody = empty;
		if (!empty && nknown < lengthof(known))
			known[nknown++] = (Known){*who, found};
	}
	return empty ? NULL : &found;
}

static const Binding *
find(const Identity *who)
{
	for (int i = 0; i < nknown; i++)
	{
		if (memcmp(&known[i].identity, who, sizeof(*who)) == 0)
			return &known[i].binding;
	}
	if (nknown == lengthof(known))
		nknown = 0;
	return look_up(who);
}

/*
 * What a caller may do is checked when its query or cursor is opened, and the
 * binding when a row is asked for, perhaps by somebody else: a bound role could
 * open a cursor in a function of its own and hand it to a role that is not
 * bound.  So who asks for the row must have the right, too.
 */
static void
require_right(Oid function)
{
	if (!smem_may_execute(function, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
}

bool
smem_bound_tenant(FunctionCallInfo fcinfo, SmemStr *tenant)
{
	const Binding *binding;
	Identity	   who;

	if (nobody)
		return false;
	who = (Identity){GetSessionUserId(), GetOuterUserId(), GetUserId()};
	binding = find(&who);
	if (binding == NULL)
		return false;
	require_right(fcinfo->flinfo->fn_oid);
	if (!OidIsValid(binding->role))
		return false;
	*tenant = (SmemStr){binding->tenant, binding->len};
	return true;
}

bool
smem_binding_apply(FunctionCallInfo fcinfo, SmemStr *tenant)
{
	SmemStr bound;

	if (!smem_bound_tenant(fcinfo, &bound))
		return false;
	if (smem_str_present(*tenant) &&
		(tenant->len != bound.len || memcmp(tenant->data, bound.data, bound.len) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("argument \"tenant\" contradicts the tenant that the role is bound to")));
	*tenant = (SmemStr){pnstrdup(bound.data, bound.len), bound.len};
	return true;
}

void
smem_binding_refuse(FunctionCallInfo fcinfo, const char *function)
{
	SmemStr bound;

	if (smem_bound_tenant(fcinfo, &bound))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("a role that is bound to a tenant may not call %s", function),
						errhint("Ask for it as a role that is not bound.")));
}
