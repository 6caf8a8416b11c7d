/*
 * The tenant that a session is bound to (somamem.bind_tenant).
 *
 * Whoever reads or writes for a caller asks here while the caller is still the
 * current user: before it takes on rights of its own (pg/definer.h).
 */
#ifndef SMEM_POLICY_BINDING_H
#define SMEM_POLICY_BINDING_H

#include "core/frame.h"

struct FunctionCallInfoBaseData;

/*
 * Whether the session user, the user of SET ROLE, or the current user is bound
 * to a tenant, which is then lent until the next call.  Raises 42501 where two
 * of them are bound to different ones, and where the current user may not call
 * the function that asks.  Costs next to nothing where nobody is bound.
 */
extern bool smem_bound_tenant(struct FunctionCallInfoBaseData *fcinfo, SmemStr *tenant);

/*
 * Makes the bound tenant the argument where that is absent, and refuses another
 * one with 42501.  Returns whether the caller is bound.
 */
extern bool smem_binding_apply(struct FunctionCallInfoBaseData *fcinfo, SmemStr *tenant);

/* Refuses a caller that is bound to a tenant what concerns all of them. */
extern void smem_binding_refuse(struct FunctionCallInfoBaseData *fcinfo, const char *function);

#endif
