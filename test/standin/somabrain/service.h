/*
 * Turns a request into an answer: endpoints, checks, faults, results.
 */
#ifndef STANDIN_SERVICE_H
#define STANDIN_SERVICE_H

#include "fault.h"
#include "ledger.h"

#define SMEM_STATUS_MAX 600

typedef struct SmemService
{
	SmemSlice	prefix; /* before /memory/..., "" or as "/api" */
	SmemFaults	faults;
	SmemLedger	ledger;
	SmemRequest request;
	bool	   *repeats; /* scratch, one per item */
	SmemPrint  *prints;
	size_t		scratch_size;
	uint64_t	requests[SMEM_FORM_COUNT];
	uint64_t	unknown_paths;
	uint64_t	taken; /* requests whose items were accepted */
	uint64_t	bytes;
	uint64_t	violations;
	uint64_t	reused_request_ids;
	uint64_t	statuses[SMEM_STATUS_MAX];
	int			connections;
	int			connections_max;
	char		first_violation[200];
} SmemService;

/* What the connection does with the bytes that the service wrote. */
typedef struct SmemReply
{
	SmemFaultKind kind; /* NONE, HANG, DRIP, RESET, or TRUNCATED */
	int			  delay_ms;
	int			  drip_ms;
	int			  drip_bytes;
	SmemSlice	  filler;	   /* follows what was written, again and again */
	uint64_t	  filler_left; /* bytes of it, UINT64_MAX: no end */
} SmemReply;

/* Appends the answer to out. */
extern SmemReply smem_service_answer(SmemService *service, const SmemHead *head, SmemSlice body,
									 int64_t now_ms, SmemBuf *out);

/* True for the paths of the control endpoint, which no fault touches. */
extern bool smem_service_controls(const SmemHead *head);
extern void smem_service_control(SmemService *service, const SmemHead *head, SmemSlice body,
								 int64_t now_ms, SmemBuf *out);

#endif
