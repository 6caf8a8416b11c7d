/*
 * What becomes of a question: it waits, is sent, is answered; and what
 * answers tell of the server.
 */
#include "courier/opa.h"

#include <stdio.h>
#include <string.h>

#include "core/encode.h"
#include "core/json.h"

#define SMEM_OPA_RULE 128
#define SMEM_OPA_GAP SMEM_SEC /* without an answer for so long, this side asks itself */

static const SmemRetry pauses = {.initial = 100 * SMEM_MSEC, .max = SMEM_SEC};

static void
answer_failed(SmemQuestion *question, const char *reason)
{
	smem_ask_answer(question, SMEM_VERDICT_FAILED, smem_str(NULL), smem_str(reason));
}

/* A denial stands, whatever becomes of the request for its reason. */
static void
answer_denied(SmemOpa *opa, SmemQuestion *question, const SmemOpaResult *result)
{
	SmemStr rule = {NULL, 0};

	smem_buf_reset(&opa->rule);
	smem_buf_reset(&opa->reason);
	if (result != NULL && smem_str_present(result->reason))
		smem_json_unescape(&opa->reason, result->reason);
	if (result != NULL && smem_str_present(result->rule))
		smem_json_unescape(&opa->rule, result->rule);
	if (smem_buf_len(&opa->reason) == 0 || opa->reason.failed)
	{
		smem_buf_reset(&opa->reason);
		smem_buf_printf(&opa->reason, "denied by the policy at %s", smem_buf_text(&opa->path));
	}
	if (smem_buf_len(&opa->rule) > 0 && !opa->rule.failed)
		rule = smem_cut_text(smem_str(smem_buf_text(&opa->rule)), SMEM_OPA_RULE);
	smem_ask_answer(question, SMEM_VERDICT_DENY, rule,
					smem_cut_text(smem_str(smem_buf_text(&opa->reason)), SMEM_OPA_REASON));
}

/* Ends a question without an answer of the server's. */
static void
give_up(SmemOpa *opa, SmemQuestion *question, const char *reason)
{
	if (question->denied)
		answer_denied(opa, question, NULL);
	else
		answer_failed(question, reason);
}

static void
enqueue(SmemOpa *opa, SmemQuestion *question, bool first)
{
	if (first)
		smem_list_prepend(&opa->queue, &question->node);
	else
		smem_list_append(&opa->queue, &question->node);
	opa->queued++;
	opa->next_deadline = smem_time_min(opa->next_deadline, question->deadline);
}

SmemQuestion *
smem_opa_dequeue(SmemOpa *opa, SmemNode *node)
{
	smem_unlink(node);
	opa->queued--;
	return SMEM_HOLDER(node, SmemQuestion, node);
}

bool
smem_opa_closed(const SmemOpa *opa)
{
	return opa->usable && opa->brk.state == SMEM_BREAKER_CLOSED;
}

static void
refuse(SmemOpa *opa, SmemQuestion *question)
{
	give_up(opa, question,
			opa->last_error[0] != '\0' ? opa->last_error : "Open Policy Agent is not available");
}

void
smem_opa_take(void *arg, SmemQuestion *question, uint32_t timeout_ms)
{
	SmemOpa *opa = arg;

	question->deadline =
		opa->host->now + smem_time_min((SmemTime) timeout_ms * SMEM_MSEC, opa->timeout);
	enqueue(opa, question, false);
}

void
smem_opa_forget(void *arg, SmemQuestion *question)
{
	/* What is on the wire comes to its end, and is released then. */
	if (!smem_linked(&question->node))
		return;
	(void) smem_opa_dequeue(arg, &question->node);
	smem_ask_release(question);
}

void
smem_opa_refuse_all(SmemOpa *opa)
{
	SmemNode *node;

	while ((node = smem_list_first(&opa->queue)) != NULL)
		refuse(opa, smem_opa_dequeue(opa, node));
}

void
smem_opa_expire(SmemOpa *opa)
{
	SmemTime  now = opa->host->now;
	SmemNode *node = smem_list_first(&opa->queue);

	if (opa->next_deadline >= now + SMEM_MSEC)
		return;
	opa->next_deadline = SMEM_TIME_NEVER;
	while (node != NULL)
	{
		SmemQuestion *question = SMEM_HOLDER(node, SmemQuestion, node);

		node = smem_list_after(&opa->queue, node);
		if (question->deadline < now + SMEM_MSEC)
			give_up(opa, smem_opa_dequeue(opa, &question->node),
					"Open Policy Agent has too many questions to answer this one in time");
		else
			opa->next_deadline = smem_time_min(opa->next_deadline, question->deadline);
	}
}

void
smem_opa_set_error(SmemOpa *opa, const char *text, const char *detail)
{
	snprintf(opa->last_error, sizeof(opa->last_error), "%s%s", text, detail);
	smem_clean_text(opa->last_error);
}

static void
fail_server(SmemOpa *opa, const SmemOpaRequest *request, SmemBreakerFailure failure)
{
	SmemTime now = smem_loop_now();

	smem_breaker_failure(&opa->brk, now, smem_retry_ceiling(&pauses, opa->brk.probes + 1), failure,
						 request->probe);
	/* Whether it is away altogether is found out before the next session asks. */
	opa->check_due = smem_time_min(opa->check_due, now + pauses.initial);
}

static void
pass_server(SmemOpa *opa)
{
	SmemTime now = smem_loop_now();

	smem_breaker_success(&opa->brk, now);
	opa->check_due = now + SMEM_OPA_GAP;
}

/* What there is instead of an answer. */
static void
judge_fault(SmemOpa *opa, const SmemOpaRequest *request, const SmemHttpAnswer *answer)
{
	switch (answer->fault)
	{
		case SMEM_HTTP_UNREACHABLE:
			smem_opa_set_error(opa, "could not reach Open Policy Agent: ", answer->error);
			fail_server(opa, request, SMEM_BREAKER_CERTAIN);
			break;
		case SMEM_HTTP_LOCAL:
			smem_opa_set_error(opa, "courier of the policy worker is out of memory", "");
			if (request->probe)
				fail_server(opa, request, SMEM_BREAKER_DOUBT);
			break;
		case SMEM_HTTP_TIMEOUT:
			smem_opa_set_error(opa, "Open Policy Agent did not answer in time", "");
			/* One that was given little says little about the server. */
			if (request->probe || request->given >= opa->timeout / 2)
				fail_server(opa, request, SMEM_BREAKER_DOUBT);
			break;
		case SMEM_HTTP_TOO_LARGE:
			smem_opa_set_error(opa, "answer of Open Policy Agent is too long", "");
			fail_server(opa, request, SMEM_BREAKER_DOUBT);
			break;
		default:
			smem_opa_set_error(opa, "connection to Open Policy Agent gave no whole answer", "");
			fail_server(opa, request, SMEM_BREAKER_DOUBT);
	}
}

/* Judges a whole answer: what it says of the server; false where it holds no result. */
static bool
judge_answer(SmemOpa *opa, const SmemOpaRequest *request, const SmemHttpAnswer *answer,
			 SmemOpaResult *result)
{
	char status[16];

	if (answer->status != 200)
	{
		snprintf(status, sizeof(status), "%d", answer->status);
		smem_opa_set_error(opa, "Open Policy Agent answered with status ", status);
		/* Any other may be the question's own fault, but not of this side's. */
		if (answer->status >= 500 || request->question == NULL)
			fail_server(opa, request, SMEM_BREAKER_DOUBT);
		return false;
	}
	smem_opa_read(answer->body, result);
	if (result->kind == SMEM_OPA_GARBAGE)
	{
		smem_opa_set_error(opa, "answer of Open Policy Agent is no JSON object", "");
		fail_server(opa, request, SMEM_BREAKER_DOUBT);
		return false;
	}
	pass_server(opa);
	return true;
}

/* Notes in last_error what the decision is, where it is none. */
static bool
is_decision(SmemOpa *opa, const SmemOpaResult *result)
{
	if (result->kind == SMEM_OPA_TRUE || result->kind == SMEM_OPA_FALSE)
	{
		opa->last_error[0] = '\0';
		return true;
	}
	if (result->kind == SMEM_OPA_UNDEFINED)
		smem_opa_set_error(opa, "undefined decision: the policy has no value at ",
						   smem_buf_text(&opa->path));
	else
		smem_opa_set_error(opa, "decision of the policy is not a boolean at ",
						   smem_buf_text(&opa->path));
	return false;
}

static void
end_question(SmemOpa *opa, SmemQuestion *question, bool answered, const SmemOpaResult *result)
{
	SmemTime now = smem_loop_now();

	if (question->asker == NULL)
		smem_ask_release(question);
	else if (question->denied)
		/* Rules that have changed since the decision explain another one. */
		answer_denied(opa, question, answered && !result->allows ? result : NULL);
	else if (!answered || !is_decision(opa, result))
		answer_failed(question, opa->last_error);
	else if (result->kind == SMEM_OPA_TRUE)
		smem_ask_answer(question, SMEM_VERDICT_ALLOW, smem_str(NULL), smem_str(NULL));
	else
	{
		question->denied = true;
		question->deadline = now + (question->deadline - now) / 2;
		enqueue(opa, question, true);
	}
}

static void
end_request(void *arg, const SmemHttpAnswer *answer)
{
	SmemOpaRequest *request = arg;
	SmemOpa		   *opa = request->opa;
	SmemQuestion   *question = request->question;
	SmemOpaResult	result = {.kind = SMEM_OPA_GARBAGE};
	bool			answered = false;

	request->taken = false;
	opa->in_flight--;
	if (question == NULL)
		opa->checking = false;
	/* What another server says is nothing to this one's circuit. */
	if (request->generation != opa->generation)
	{
		if (question != NULL)
			give_up(opa, question, "address of Open Policy Agent has changed");
		return;
	}
	if (answer->fault != SMEM_HTTP_ANSWERED)
		judge_fault(opa, request, answer);
	else
		answered = judge_answer(opa, request, answer, &result);
	if (question != NULL)
		end_question(opa, question, answered, &result);
	else if (answered)
		(void) is_decision(opa, &result);
}

static SmemOpaRequest *
free_request(SmemOpa *opa)
{
	for (int i = 0; i < SMEM_OPA_REQUESTS; i++)
	{
		if (!opa->request[i].taken)
			return &opa->request[i];
	}
	return NULL;
}

/* Sends the question, or this side's own where it is NULL; false when out of memory. */
static bool
send_request(SmemOpa *opa, SmemQuestion *question, SmemTime timeout, bool probe)
{
	SmemOpaRequest *request = free_request(opa);
	SmemHttpCall   *call = smem_http_begin(opa->http);
	SmemBuf *url = question != NULL && question->denied ? &opa->reason_url : &opa->decision_url;
	SmemBuf *body;

	if (call == NULL)
		return false;
	body = smem_http_body(call);
	smem_buf_puts(body, "{\"input\":");
	if (question != NULL)
		smem_buf_append(body, smem_buf_head(&question->input), smem_buf_len(&question->input));
	else
		smem_buf_puts(body, "{}");
	smem_buf_putc(body, '}');
	*request = (SmemOpaRequest){.opa = opa,
								.taken = true,
								.probe = probe,
								.question = question,
								.generation = opa->generation,
								.given = timeout};
	if (!smem_http_header(call, "Content-Type: application/json"))
	{
		smem_http_cancel(call);
		request->taken = false;
	}
	else
		request->taken =
			smem_http_send(call, smem_buf_text(url), timeout, probe, end_request, request);
	opa->in_flight += request->taken;
	return request->taken;
}

void
smem_opa_send(SmemOpa *opa)
{
	SmemNode *node;

	while (opa->in_flight < SMEM_OPA_REQUESTS && (node = smem_list_first(&opa->queue)) != NULL)
	{
		SmemQuestion *question = smem_opa_dequeue(opa, node);

		if (!send_request(opa, question, question->deadline - opa->host->now, false))
			give_up(opa, question, "courier of the policy worker is out of memory");
	}
}

SmemTime
smem_opa_next_check(const SmemOpa *opa)
{
	if (!opa->usable || opa->checking || opa->in_flight == SMEM_OPA_REQUESTS)
		return SMEM_TIME_NEVER;
	return opa->brk.state == SMEM_BREAKER_CLOSED ? opa->check_due
												 : smem_breaker_next(&opa->brk, opa->host->now);
}

void
smem_opa_check(SmemOpa *opa)
{
	SmemTime now = opa->host->now;
	bool	 probe = opa->brk.state != SMEM_BREAKER_CLOSED;

	if (smem_opa_next_check(opa) > now || !smem_breaker_admit(&opa->brk, now))
		return;
	opa->check_due = now + SMEM_OPA_GAP;
	opa->checking = send_request(opa, NULL, opa->timeout, probe);
	/* Out of memory: another turn may have some. */
	if (!opa->checking && probe)
		smem_breaker_failure(&opa->brk, now, pauses.initial, SMEM_BREAKER_DOUBT, true);
}
