/*
 * One decision: by the built-in rules or by Open Policy Agent, as
 * somamem.policy says, with the count of the tenant's last minute.
 */
#ifndef SMEM_POLICY_DECIDE_H
#define SMEM_POLICY_DECIDE_H

#include "core/frame.h"
#include "policy/count.h"
#include "utils/jsonb.h"

/* Who asks. */
typedef struct SmemPolicyCaller
{
	bool	is_bound; /* to a tenant (binding.h) */
	SmemStr tenant;	  /* which, where is_bound */
} SmemPolicyCaller;

/* One write, as far as policy looks at it. */
typedef struct SmemPolicyWrite
{
	int		ordinal; /* in a batch, from 1; else 0 */
	SmemStr tenant;
	SmemStr session;
	SmemStr namespace;
	JsonbContainer *payload;
	int				payload_len;
} SmemPolicyWrite;

typedef struct SmemPolicyAnswer
{
	bool		allow;
	const char *reason;
	SmemEngine	engine;
} SmemPolicyAnswer;

/*
 * Lets the writes pass, all or none, and counts them.  Raises 42501 with the
 * reason where one is refused, 53400 where the tenant has used up its writes of
 * this minute, 58000 where the engine has not decided.
 */
extern void smem_policy_admit(const SmemPolicyCaller *caller, const SmemPolicyWrite *writes, int n);

/* Decides on any input, and counts no write.  An engine that fails has refused. */
extern void smem_policy_authorize(const SmemPolicyCaller *caller, Jsonb *input,
								  SmemPolicyAnswer *answer);

#endif
