/*
 * The SomaBrain sink's own parts, which meet in SmemBrain:
 *
 *   somabrain.c      settings, state, the sink's operations
 *   brain_flow.c     which rows go when: batches, circuit, waits
 *   brain_outcome.c  what an answer means for the rows of its request
 *   brain_request.c  bodies and headers
 *   brain_answer.c   judges and reads answers
 */
#ifndef SMEM_COURIER_BRAIN_H
#define SMEM_COURIER_BRAIN_H

#include "core/breaker.h"
#include "core/error.h"
#include "core/lanes.h"
#include "core/list.h"
#include "core/retry.h"
#include "core/split.h"
#include "courier/http.h"
#include "courier/secret.h"
#include "courier/sink.h"

#define SMEM_BRAIN_CLASS 32
#define SMEM_BRAIN_REASON 320

/* How a request is put, from the newest to the oldest service. */
typedef enum SmemBrainForm
{
	/* {prefix}/memory/remember/batch */
	SMEM_BRAIN_BATCH,
	/* {prefix}/memory/remember */
	SMEM_BRAIN_SINGLE,
	/* /remember */
	SMEM_BRAIN_LEGACY,
	SMEM_BRAIN_FORMS
} SmemBrainForm;

typedef enum SmemVerdict
{
	/* Rows that have a result are delivered. */
	SMEM_VERDICT_PASSED,
	/* The sink's trouble, and certainly not for one of these rows. */
	SMEM_VERDICT_SINK,
	/* The sink's trouble, unless it meets these rows again and again while others pass. */
	SMEM_VERDICT_DOUBT,
	/* The tenant is throttled. */
	SMEM_VERDICT_TENANT,
	/* One of the rows is refused, and always will be. */
	SMEM_VERDICT_ROW,
	/* The service does not know this form. */
	SMEM_VERDICT_FORM
} SmemVerdict;

typedef struct SmemJudgement
{
	SmemVerdict verdict;
	char class[SMEM_BRAIN_CLASS];	   /* short and stable */
	char	reason[SMEM_BRAIN_REASON]; /* for people */
	SmemStr detail;					   /* what the answer says itself: checked JSON, or absent */
} SmemJudgement;

/* What the answer says of one row. */
typedef struct SmemBrainResult
{
	bool	found;
	SmemStr coordinate; /* JSON as given, or absent */
	SmemStr request_id; /* a JSON string, or absent */
} SmemBrainResult;

/* Rows that are sent together, from being taken until each has an outcome or is put back. */
typedef struct SmemBatch
{
	SmemNode		  node; /* among those that wait, or are on the wire */
	struct SmemBrain *brain;
	SmemSplit		  split;	   /* split.rows are left, split.tried go in the next request */
	SmemBrainForm	  form;		   /* of the request on the wire */
	uint32_t		  failures;	   /* requests that failed in doubt */
	uint64_t		  passed_mark; /* brain->passed when the last of them did */
	SmemTime		  due;		   /* waits until then, while the circuit is closed */
	SmemTime		  sent_at;
	uint32_t		  largest; /* part that passed after the whole had failed */
	bool			  waits;
	bool			  probe;
	bool			  condemned; /* a row of it was found bad */
	SmemItem		 *items[];
} SmemBatch;

typedef struct SmemBrain
{
	SmemHost  *host;
	SmemHttp  *http;
	SmemLanes *lanes;
	SmemSecret token;

	/* settings */
	SmemBuf	  url[SMEM_BRAIN_FORMS];
	SmemTime  timeout;
	uint32_t  concurrency;
	SmemTake  take;
	SmemRetry retry;
	bool	  usable; /* there is something to send to; else settings_error says why not */
	SmemError settings_error;
	SmemTime  check_due; /* when the token's file is looked at again */

	SmemBreaker	  brk;
	SmemBrainForm form;			 /* the one that is used */
	uint32_t	  forms_refused; /* in a row */
	SmemList	  waiting;		 /* batches, those that may go first in front */
	uint32_t	  waiting_count;
	SmemTime	  waiting_next; /* none of them is due before */
	SmemList	  on_wire;
	uint32_t	  in_flight;
	bool		  paused;		  /* nothing is sent */
	bool		  probed_waiting; /* the last probe was a batch that had waited */
	uint64_t	  passed;		  /* requests that passed */
	uint64_t	  retries;
	SmemTime	  slowest;		 /* answer of late, fading */
	uint32_t	  items_limit;	 /* what the service was found to take at once */
	uint32_t	  passes_in_row; /* since items_limit was last changed */
	bool		  failing;		 /* last_error is worth showing */
	char		  last_error[SMEM_BRAIN_REASON];

	/* used within one call */
	SmemBuf			 scratch;
	SmemBrainResult *results; /* as many as a batch may have items */
} SmemBrain;

/* brain_request.c: fills in the call for the next request; false when out of memory. */
extern bool smem_brain_request(SmemBatch *batch, SmemHttpCall *call);

/* brain_answer.c */
extern void smem_brain_judge(const SmemHttpAnswer *answer, SmemJudgement *judgement);

/*
 * Finds the rows' results in the body of an answer that passed; returns how
 * many were found, or -1 with a judgement where the body is not the contract.
 */
extern int smem_brain_results(SmemStr body, SmemBrainForm form, SmemItem **items, uint32_t n,
							  SmemBrainResult *results, SmemJudgement *judgement);

/* Appends what the answer says, where it quotes nothing of the row. */
extern void smem_brain_explain(SmemJudgement *judgement, const SmemItem *item);

/* The receipt of a result, in buf. */
extern SmemStr smem_brain_receipt(SmemBuf *buf, const SmemBrainResult *result);

/* brain_flow.c */

/* Sends what may go; returns when more may, at the earliest. */
extern SmemTime smem_brain_dispatch(SmemBrain *brain);

/* Keeps a batch together until it is due; one that is due now goes before all others. */
extern void smem_brain_wait(SmemBatch *batch, SmemTime due);

/* The last n rows of a batch go back to their lanes; a batch without rows is freed. */
extern void smem_brain_put_back(SmemBatch *batch, uint32_t n);
extern void smem_brain_free_batch(SmemBatch *batch);

/* The circuit closed: what waited for that may go. */
extern void smem_brain_release_waiting(SmemBrain *brain);

/* brain_outcome.c: the end of the batch's request. */
extern void smem_brain_ended(void *batch, const SmemHttpAnswer *answer);

#endif
