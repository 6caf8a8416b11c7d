#include "postgres.h"

#include "pg/definer.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "utils/syscache.h"

static Oid
owner_of(Oid relation)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid		  owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
smem_definer_enter(SmemDefiner *definer)
{
	Oid owner = owner_of(smem_relation_oid("outbox"));

	GetUserIdAndSecContext(&definer->caller, &definer->sec_context);
	SetUserIdAndSecContext(owner, definer->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
smem_definer_leave(const SmemDefiner *definer)
{
	SetUserIdAndSecContext(definer->caller, definer->sec_context);
}
