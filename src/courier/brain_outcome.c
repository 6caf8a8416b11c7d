/*
 * What an answer means for the rows of its request, and for the circuit.
 */
#include "courier/brain.h"

#include <stdio.h>
#include <string.h>

#include "courier/random.h"

/*
 * A batch, and a row on its own, that failed so often in doubt is suspected.
 * A row that comes again after it was condemned before has been through that.
 */
#define SMEM_DOUBTS 3
#define SMEM_DOUBTS_AGAIN 2

/* From one probe to the next passes no more than this, with jitter down to the half. */
#define SMEM_PROBE_GAP SMEM_SEC
#define SMEM_PAUSE_MIN (50 * SMEM_MSEC)

#define SMEM_THROTTLE_MIN (50 * SMEM_MSEC)
#define SMEM_FADE 16		  /* part of the slowest answer that each quicker one forgets */
#define SMEM_LIMIT_PASSES 256 /* requests that pass before a larger batch is tried again */

static void
emit(SmemBrain *brain, const SmemItem *item, SmemOutcomeKind kind, SmemStr receipt,
	 const SmemJudgement *judgement)
{
	SmemOutcome out = {.id = item->row.id, .kind = (uint8_t) kind, .receipt = receipt};

	if (judgement != NULL)
	{
		out.class = smem_str(judgement->class);
		out.reason = smem_str(judgement->reason);
	}
	smem_host_outcome(brain->host, &out);
}

/* Lanes keep throttled rows while the trouble is the sink's as a whole. */
static void
follow_circuit(SmemBrain *brain, SmemBreakerState before)
{
	bool closed = brain->brk.state == SMEM_BREAKER_CLOSED;

	smem_lanes_set_patient(brain->lanes, !closed);
	if (closed && before != SMEM_BREAKER_CLOSED)
		smem_brain_release_waiting(brain);
}

static void
note_alive(SmemBrain *brain)
{
	SmemBreakerState before = brain->brk.state;

	smem_breaker_success(&brain->brk, brain->host->now);
	follow_circuit(brain, before);
}

static void
note_pass(SmemBrain *brain, SmemTime took)
{
	brain->passed++;
	brain->failing = false;
	brain->slowest = smem_time_max(took, brain->slowest - brain->slowest / SMEM_FADE);
	if (brain->items_limit < brain->take.items && ++brain->passes_in_row >= SMEM_LIMIT_PASSES)
	{
		brain->items_limit *= 2;
		brain->passes_in_row = 0;
	}
	note_alive(brain);
}

/* How long the circuit is open after a failure; what a hanging probe took already counts. */
static SmemTime
choose_pause(const SmemBatch *batch)
{
	const SmemBrain *brain = batch->brain;
	SmemTime		 gap = SMEM_PROBE_GAP / 2 + (SmemTime) (smem_random() % (SMEM_PROBE_GAP / 2));
	SmemTime		 pause = smem_retry_delay(&brain->retry, brain->brk.probes + 1, smem_random());

	if (batch->probe)
		gap -= brain->host->now - batch->sent_at;
	return smem_time_max(smem_time_min(pause, gap), SMEM_PAUSE_MIN);
}

static void
note_failure(SmemBrain *brain, const SmemBatch *batch, SmemBreakerFailure failure,
			 const SmemJudgement *judgement)
{
	SmemBreakerState before = brain->brk.state;

	smem_breaker_failure(&brain->brk, brain->host->now, choose_pause(batch), failure, batch->probe);
	brain->failing = true;
	snprintf(brain->last_error, sizeof(brain->last_error), "%s", judgement->reason);
	follow_circuit(brain, before);
}

/* The first row of the batch alone was the request; it gets its outcome, the others go on. */
static void
condemn(SmemBatch *batch, SmemOutcomeKind kind, SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;
	SmemItem  *item = batch->items[0];
	SmemStr	   none = {NULL, 0};

	batch->condemned = true;
	smem_brain_explain(judgement, item);
	emit(brain, item, kind, none, judgement);
	/* The others first: those of its session then stand in the lane that is closed. */
	if (batch->split.rows > 1)
		smem_brain_put_back(batch, batch->split.rows - 1);
	if (kind == SMEM_OUTCOME_FAILED)
		smem_lanes_close(brain->lanes, item, brain->host->now);
	else
		smem_lanes_settle(brain->lanes, item, brain->host->now);
	smem_brain_free_batch(batch);
}

/* The request failed for one of several rows: the next asks fewer. */
static void
halve(SmemBatch *batch)
{
	uint32_t unasked = smem_split_failed(&batch->split);

	if (unasked > 0)
	{
		batch->split.rows += unasked;
		smem_brain_put_back(batch, unasked);
	}
}

/*
 * The request failed in a way that may be its rows' fault.  Fresh rows that
 * met an outage go back, to be mixed anew; what failed before stays together,
 * so that it can be told whether it is always the same.
 */
static void
settle_doubt(SmemBatch *batch, SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;
	bool	   closed = brain->brk.state == SMEM_BREAKER_CLOSED;
	bool	   others_passed = brain->passed > batch->passed_mark;
	uint32_t   doubts = batch->items[0]->row.attempts > 0 ? SMEM_DOUBTS_AGAIN : SMEM_DOUBTS;

	batch->failures++;
	batch->passed_mark = brain->passed;
	if (batch->failures >= doubts && batch->split.tried == 1 && others_passed)
	{
		condemn(batch, SMEM_OUTCOME_FAILED, judgement);
		return;
	}
	if (batch->failures >= doubts && batch->split.tried > 1)
	{
		halve(batch);
		smem_brain_wait(batch, brain->host->now);
	}
	else if (!closed && batch->failures == 1)
		smem_brain_put_back(batch, batch->split.rows);
	else
		smem_brain_wait(batch, brain->host->now +
								   smem_retry_delay(&brain->retry, batch->failures, smem_random()));
}

static void
meet_sink_trouble(SmemBatch *batch, const SmemHttpAnswer *answer, const SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;

	note_failure(brain, batch, SMEM_BREAKER_CERTAIN, judgement);
	if (answer->status == 503 && answer->retry_after_s > 0)
		smem_breaker_hold(&brain->brk, brain->host->now + answer->retry_after_s * SMEM_SEC);
	if (batch->failures == 0 && !batch->split.guilty)
		smem_brain_put_back(batch, batch->split.rows);
	else
		smem_brain_wait(batch, brain->host->now + 1);
}

static void
meet_tenant_trouble(SmemBatch *batch, const SmemHttpAnswer *answer, const SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;
	SmemTime   now = brain->host->now;
	uint32_t   times = smem_lanes_throttled(brain->lanes, batch->items[0], now);
	SmemTime   delay = answer->retry_after_s >= 0
						   ? answer->retry_after_s * SMEM_SEC
						   : smem_retry_delay(&brain->retry, times, smem_random());

	if (smem_lanes_all_throttled(brain->lanes))
		note_failure(brain, batch, SMEM_BREAKER_CERTAIN, judgement);
	else
		note_alive(brain);
	smem_lanes_hold(brain->lanes, batch->items[0], now + smem_time_max(delay, SMEM_THROTTLE_MIN),
					now);
	smem_brain_put_back(batch, batch->split.rows);
}

static void
meet_row_trouble(SmemBatch *batch, SmemJudgement *judgement)
{
	note_alive(batch->brain);
	if (batch->split.tried == 1)
	{
		condemn(batch, SMEM_OUTCOME_DEAD, judgement);
		return;
	}
	halve(batch);
	smem_brain_wait(batch, batch->brain->host->now);
}

/* 404: the next form is tried; the sink is at fault when it knows none of them. */
static void
meet_unknown_form(SmemBatch *batch, const SmemHttpAnswer *answer, SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;

	/* Of the requests that were on the wire together, the first one moved on for all. */
	if (batch->form == brain->form)
	{
		brain->form = (brain->form + 1) % SMEM_BRAIN_FORMS;
		brain->forms_refused++;
	}
	if (brain->forms_refused >= SMEM_BRAIN_FORMS)
	{
		brain->forms_refused = 0;
		brain->form = SMEM_BRAIN_BATCH;
		snprintf(judgement->reason, sizeof(judgement->reason),
				 "service answered 404 to every form of the request");
		meet_sink_trouble(batch, answer, judgement);
		return;
	}
	if (batch->probe)
		smem_breaker_abandon(&brain->brk, brain->host->now);
	smem_brain_put_back(batch, batch->split.rows);
}

/*
 * Gives the rows that have a result their outcome.  Those that have none move
 * to the front of the batch; returns how many they are.
 */
static uint32_t
deliver(SmemBatch *batch)
{
	SmemBrain *brain = batch->brain;
	uint32_t   tried = batch->split.tried;
	uint32_t   left = 0;

	smem_lanes_passed(brain->lanes, batch->items[0]);
	for (uint32_t i = 0; i < tried; i++)
	{
		SmemItem *item = batch->items[i];

		if (!brain->results[i].found)
		{
			batch->items[left++] = item;
			continue;
		}
		emit(brain, item, SMEM_OUTCOME_DELIVERED,
			 smem_brain_receipt(&brain->scratch, &brain->results[i]), NULL);
		smem_lanes_settle(brain->lanes, item, brain->host->now);
	}
	memmove(batch->items + left, batch->items + tried,
			(batch->split.rows - tried) * sizeof(batch->items[0]));
	return left;
}

/*
 * No row of a refused batch was bad: the service refuses so many at once.
 * Smaller batches from now on, for a while.
 */
static void
learn_limit(SmemBatch *batch)
{
	if (!batch->split.guilty || batch->condemned || batch->largest == 0)
		return;
	batch->brain->items_limit = batch->largest;
	batch->brain->passes_in_row = 0;
}

static void
meet_pass(SmemBatch *batch, SmemTime took, SmemJudgement *judgement)
{
	SmemBrain *brain = batch->brain;
	uint32_t   rest = batch->split.rows - batch->split.tried;
	uint32_t   left;

	if (batch->split.guilty && batch->split.tried > batch->largest)
		batch->largest = batch->split.tried;
	left = deliver(batch);
	note_pass(brain, took);
	if (left > 0)
	{
		batch->split.rows = left + rest;
		if (rest > 0)
			smem_brain_put_back(batch, rest);
		smem_split_begin(&batch->split, left);
		snprintf(judgement->class, sizeof(judgement->class), "no_result");
		snprintf(judgement->reason, sizeof(judgement->reason),
				 "answer of the service has no result for the key");
		settle_doubt(batch, judgement);
	}
	else if (smem_split_passed(&batch->split))
		smem_brain_wait(batch, brain->host->now);
	else
	{
		learn_limit(batch);
		smem_brain_free_batch(batch);
	}
}

void
smem_brain_ended(void *arg, const SmemHttpAnswer *answer)
{
	SmemBatch	 *batch = arg;
	SmemBrain	 *brain = batch->brain;
	SmemJudgement judgement;

	brain->in_flight--;
	smem_unlink(&batch->node);
	smem_brain_judge(answer, &judgement);
	/* Changes the verdict where the body is not what the status promised. */
	if (judgement.verdict == SMEM_VERDICT_PASSED)
		smem_brain_results(answer->body, batch->form, batch->items, batch->split.tried,
						   brain->results, &judgement);
	if (judgement.verdict != SMEM_VERDICT_FORM)
		brain->forms_refused = 0;
	switch (judgement.verdict)
	{
		case SMEM_VERDICT_PASSED:
			meet_pass(batch, answer->took, &judgement);
			break;
		case SMEM_VERDICT_SINK:
			meet_sink_trouble(batch, answer, &judgement);
			break;
		case SMEM_VERDICT_DOUBT:
			note_failure(brain, batch, SMEM_BREAKER_DOUBT, &judgement);
			settle_doubt(batch, &judgement);
			break;
		case SMEM_VERDICT_TENANT:
			meet_tenant_trouble(batch, answer, &judgement);
			break;
		case SMEM_VERDICT_ROW:
			meet_row_trouble(batch, &judgement);
			break;
		case SMEM_VERDICT_FORM:
			meet_unknown_form(batch, answer, &judgement);
			break;
	}
}
