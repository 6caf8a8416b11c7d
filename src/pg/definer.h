/*
 * Rights of the extension's owner, for functions that read its tables for
 * callers who may not.
 *
 * As SECURITY DEFINER, but from within: such a function no longer sees who
 * called it, and a binding of the caller to a tenant would be overlooked
 * (policy/binding.h).  The function's declaration pins the search path.
 */
#ifndef SMEM_PG_DEFINER_H
#define SMEM_PG_DEFINER_H

#include "postgres_ext.h"

typedef struct SmemDefiner
{
	Oid caller;
	int sec_context;
} SmemDefiner;

/* An error gives the rights back by itself. */
extern void smem_definer_enter(SmemDefiner *definer);
extern void smem_definer_leave(const SmemDefiner *definer);

#endif
