/*
 * Differences between the versions of PostgreSQL, and only these.
 */
#ifndef SMEM_PG_COMPAT_H
#define SMEM_PG_COMPAT_H

#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "utils/acl.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

static inline bool
smem_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

static inline List *
smem_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot, EState *estate,
						 bool may_conflict, bool *conflict)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(info, slot, estate, false, may_conflict, conflict, NIL, false);
#else
	return ExecInsertIndexTuples(info, slot, estate, false, may_conflict, conflict, NIL);
#endif
}

static inline bool
smem_check_index_constraints(ResultRelInfo *info, TupleTableSlot *slot, EState *estate,
							 ItemPointer tid)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(info, slot, estate, tid, &none, NIL);
#else
	return ExecCheckIndexConstraints(info, slot, estate, tid, NIL);
#endif
}

#endif
