/*
 * Asking Open Policy Agent, through the policy worker's courier.
 *
 * A session connects to a socket in the data directory, sends its questions
 * and waits for the answers: with a deadline for each, open to cancels, and
 * without any library.  Where the worker is not there, or its circuit is open,
 * there is no decision at once.
 */
#ifndef SMEM_POLICY_OPA_H
#define SMEM_POLICY_OPA_H

#include "core/frame.h"
#include "policy/count.h"

typedef struct SmemOpaAnswer
{
	SmemVerdictKind decided;
	const char	   *rule;	/* that refused; NULL: not known */
	const char	   *reason; /* for a refusal, and for no decision */
} SmemOpaAnswer;

/* The i-th question: the text of "input", in UTF-8. */
typedef SmemStr (*SmemOpaInput)(void *arg, int i);

/* Asks n questions and fills in as many answers; their texts are palloc'd. */
extern void smem_opa_ask(SmemOpaInput input, void *arg, int n, SmemOpaAnswer *answers);

#endif
