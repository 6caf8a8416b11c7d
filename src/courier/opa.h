/*
 * Open Policy Agent: who asks it what, and when.
 *
 * A question of a session waits in a queue, goes out on one of few
 * connections, and has its answer when OPA's is there, or when its time is
 * over.  Where the decision is false, the rule "decision" beside it is asked
 * for the reason in half of the time that is left.
 *
 * The circuit: a refused connection opens it at once, three failures in a row
 * (silence, 5xx, no JSON) do too.  While it is open nobody waits: every
 * question is answered at once, and this side alone asks, with the input {},
 * until an answer makes sense.  It asks as well when nobody else does, once a
 * second, so that the circuit tells the truth before a session has to find out.
 * A decision that is undefined or not a boolean is the policy's fault, not the
 * server's: it leaves the circuit closed.
 */
#ifndef SMEM_COURIER_OPA_H
#define SMEM_COURIER_OPA_H

#include "core/breaker.h"
#include "core/retry.h"
#include "courier/asker.h"
#include "courier/http.h"

#define SMEM_OPA_REQUESTS 16 /* at once */
#define SMEM_OPA_REASON 1024
#define SMEM_OPA_THRESHOLD 3 /* failures in a row that open the circuit */

typedef enum SmemOpaKind
{
	SMEM_OPA_TRUE,
	SMEM_OPA_FALSE,
	SMEM_OPA_OBJECT,	/* the rule "decision": text and rule are set where it has them */
	SMEM_OPA_UNDEFINED, /* there is no such rule, or it has no value */
	SMEM_OPA_OTHER,		/* a value of another kind */
	SMEM_OPA_GARBAGE	/* no answer of OPA */
} SmemOpaKind;

typedef struct SmemOpaResult
{
	SmemOpaKind kind;
	SmemStr		reason; /* string values of JSON; absent where they are none */
	SmemStr		rule;
	bool		allows; /* an object says "allow": true */
} SmemOpaResult;

typedef struct SmemOpa SmemOpa;

/* A place on the wire. */
typedef struct SmemOpaRequest
{
	SmemOpa		 *opa;
	bool		  taken;
	bool		  probe;	  /* its end decides on the open circuit */
	SmemQuestion *question;	  /* NULL: this side's own, with the input {} */
	uint32_t	  generation; /* of the settings that it was sent with */
	SmemTime	  given;	  /* time for the answer */
} SmemOpaRequest;

struct SmemOpa
{
	SmemHost	  *host;
	SmemHttp	  *http;
	SmemAskers	  *askers;
	SmemBuf		   path; /* as set */
	SmemBuf		   decision_url;
	SmemBuf		   reason_url;
	SmemTime	   timeout;
	bool		   usable;
	uint32_t	   generation;
	SmemBreaker	   brk;
	SmemTime	   check_due;
	bool		   checking;
	SmemList	   queue;
	uint32_t	   queued;
	SmemTime	   next_deadline; /* no question's time is over before */
	SmemOpaRequest request[SMEM_OPA_REQUESTS];
	uint32_t	   in_flight;
	char		   last_error[SMEM_OPA_REASON]; /* empty: none since the last decision */
	SmemBuf		   rule;
	SmemBuf		   reason;
};

/* Reads the body of an answer; the result points into it. */
extern void smem_opa_read(SmemStr body, SmemOpaResult *result);

/* opa_flow.c: questions, requests, and what they tell of the server. */

/* For SmemAskersOps. */
extern void smem_opa_take(void *arg, SmemQuestion *question, uint32_t timeout_ms);
extern void smem_opa_forget(void *arg, SmemQuestion *question);

extern SmemQuestion *smem_opa_dequeue(SmemOpa *opa, SmemNode *node);

/* Whether questions are sent, not refused. */
extern bool smem_opa_closed(const SmemOpa *opa);
extern void smem_opa_refuse_all(SmemOpa *opa);

/* Answers those whose time is over while they wait: less than what a request can be given. */
extern void smem_opa_expire(SmemOpa *opa);
extern void smem_opa_send(SmemOpa *opa);

/* When this side asks by itself; with all places taken, their ends tell enough. */
extern SmemTime smem_opa_next_check(const SmemOpa *opa);
extern void		smem_opa_check(SmemOpa *opa);
extern void		smem_opa_set_error(SmemOpa *opa, const char *text, const char *detail);

#endif
