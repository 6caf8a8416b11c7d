/*
 * Which rows go to SomaBrain, and when.
 *
 * While the circuit is closed, every free connection takes a batch at once:
 * one that waits and is due, else fresh rows.  So batches are small while the
 * service is quick, and fill by themselves while it is not.
 *
 * While it is open, one probe goes at a time.  The schedule of retry_initial
 * and retry_max governs how long a failing batch waits; the circuit's own
 * pause is the same schedule, but probes begin at most a second apart: one
 * small request a second harms no service, and the first delivery after an
 * outage must not wait for a minute's pause to end.  Where the service asks for more by
 * Retry-After, it gets more.  For the same reason a probe is given up early
 * where answers used to be quick; now and then one is given the full time, in
 * case the service has become slow instead of silent.
 */
#include "courier/brain.h"

#include <string.h>

#define SMEM_PROBE_TIMEOUT (900 * SMEM_MSEC)
#define SMEM_PROBE_PATIENT 32 /* one probe in so many has the full time */
#define SMEM_PROBE_SMALL 3	  /* after so many failed probes, one row is enough to ask */
#define SMEM_CHECK_GAP SMEM_SEC

static void
take_out(SmemBatch *batch)
{
	smem_unlink(&batch->node);
	if (batch->waits)
		batch->brain->waiting_count--;
	batch->waits = false;
}

void
smem_brain_free_batch(SmemBatch *batch)
{
	take_out(batch);
	smem_release(batch);
}

void
smem_brain_wait(SmemBatch *batch, SmemTime due)
{
	SmemBrain *brain = batch->brain;

	batch->due = due;
	batch->waits = true;
	if (due <= brain->host->now)
		smem_list_prepend(&brain->waiting, &batch->node);
	else
		smem_list_append(&brain->waiting, &batch->node);
	brain->waiting_count++;
	brain->waiting_next = smem_time_min(brain->waiting_next, due);
}

void
smem_brain_put_back(SmemBatch *batch, uint32_t n)
{
	SmemBrain *brain = batch->brain;
	uint32_t   keep = batch->split.rows - n;

	smem_lanes_put_back(brain->lanes, batch->items + keep, n, brain->host->now);
	batch->split.rows = keep;
	if (keep == 0)
		smem_brain_free_batch(batch);
}

void
smem_brain_release_waiting(SmemBrain *brain)
{
	SmemNode *node = smem_list_first(&brain->waiting);

	brain->waiting_next = brain->host->now;
	while (node != NULL)
	{
		SmemBatch *batch = SMEM_HOLDER(node, SmemBatch, node);

		node = smem_list_after(&brain->waiting, node);
		batch->due = brain->host->now;
		/* What the outage had halved may go as a whole again. */
		if (batch->split.guilty && batch->split.rows > 1)
			smem_brain_put_back(batch, batch->split.rows);
	}
}

static bool
circuit_closed(const SmemBrain *brain)
{
	return brain->brk.state == SMEM_BREAKER_CLOSED;
}

/* The first waiting batch that may go now; NULL when none is due. */
static SmemBatch *
find_waiting(SmemBrain *brain)
{
	SmemTime  now = brain->host->now;
	SmemTime  next = SMEM_TIME_NEVER;
	SmemNode *node = smem_list_first(&brain->waiting);

	if (circuit_closed(brain) && brain->waiting_next > now)
		return NULL;
	for (; node != NULL; node = smem_list_after(&brain->waiting, node))
	{
		SmemBatch *batch = SMEM_HOLDER(node, SmemBatch, node);

		if (batch->due <= now || !circuit_closed(brain))
			return batch;
		next = smem_time_min(next, batch->due);
	}
	brain->waiting_next = next;
	return NULL;
}

static SmemBatch *
take_waiting(SmemBrain *brain)
{
	SmemBatch *batch;

	while ((batch = find_waiting(brain)) != NULL)
	{
		take_out(batch);
		if (batch->split.rows == 1 || brain->form == SMEM_BRAIN_BATCH)
			return batch;
		/* The form has become one that takes a single row. */
		smem_brain_put_back(batch, batch->split.rows);
	}
	return NULL;
}

static SmemTake
size_batch(const SmemBrain *brain)
{
	SmemTake take = brain->take;

	if (brain->items_limit < take.items)
		take.items = brain->items_limit;
	if (brain->form != SMEM_BRAIN_BATCH || brain->brk.probes >= SMEM_PROBE_SMALL)
		take.items = 1;
	return take;
}

static SmemBatch *
take_fresh(SmemBrain *brain)
{
	SmemTake   take = size_batch(brain);
	SmemTime   now = brain->host->now;
	SmemBatch *batch;
	uint32_t   n;

	if (smem_lanes_next(brain->lanes, now) > now)
		return NULL;
	batch = smem_alloc(sizeof(*batch) + take.items * sizeof(batch->items[0]));
	if (batch == NULL)
		return NULL;
	batch->brain = brain;
	n = smem_lanes_take(brain->lanes, &take, now, batch->items);
	if (n == 0)
	{
		smem_release(batch);
		return NULL;
	}
	smem_split_begin(&batch->split, n);
	batch->passed_mark = brain->passed;
	/* A row that failed before needs no second proof that others pass, where the last one did. */
	if (batch->items[0]->row.attempts > 0 && brain->brk.failures == 0 && brain->passed > 0)
		batch->passed_mark--;
	return batch;
}

/* Probes take turns between what waited and fresh rows: neither may block the other's proof. */
static SmemBatch *
next_batch(SmemBrain *brain)
{
	bool	   waiting_first = circuit_closed(brain) || !brain->probed_waiting;
	SmemBatch *batch = waiting_first ? take_waiting(brain) : take_fresh(brain);

	brain->probed_waiting = waiting_first;
	if (batch != NULL)
		return batch;
	brain->probed_waiting = !waiting_first;
	return waiting_first ? take_fresh(brain) : take_waiting(brain);
}

static SmemTime
choose_timeout(const SmemBrain *brain, bool probe)
{
	uint32_t probes = brain->brk.probes;
	SmemTime timeout;

	if (!probe || probes % SMEM_PROBE_PATIENT == SMEM_PROBE_PATIENT - 1)
		return brain->timeout;
	if (brain->slowest > 0)
		timeout = smem_time_max(brain->slowest * 4, SMEM_PROBE_TIMEOUT);
	else
		timeout = SMEM_PROBE_TIMEOUT << probes % 4;
	return smem_time_min(timeout, brain->timeout);
}

static void
count_retry(SmemBrain *brain, SmemBatch *batch)
{
	bool again = false;

	for (uint32_t i = 0; i < batch->split.tried; i++)
	{
		again = again || batch->items[i]->sent;
		batch->items[i]->sent = true;
	}
	if (again)
		brain->retries++;
}

/* False when out of memory. */
static bool
start_call(SmemBrain *brain, SmemBatch *batch)
{
	SmemHttpCall *call = smem_http_begin(brain->http);

	if (call == NULL)
		return false;
	if (!smem_brain_request(batch, call))
	{
		smem_http_cancel(call);
		return false;
	}
	return smem_http_send(call, smem_buf_text(&brain->url[batch->form]),
						  choose_timeout(brain, batch->probe), batch->probe, smem_brain_ended,
						  batch);
}

static void
send_batch(SmemBrain *brain, SmemBatch *batch)
{
	static const SmemHttpAnswer local = {.fault = SMEM_HTTP_LOCAL, .retry_after_s = -1};

	smem_breaker_admit(&brain->brk, brain->host->now);
	batch->probe = brain->brk.state == SMEM_BREAKER_HALF_OPEN;
	batch->form = brain->form;
	batch->sent_at = brain->host->now;
	brain->in_flight++;
	smem_list_append(&brain->on_wire, &batch->node);
	count_retry(brain, batch);
	if (!start_call(brain, batch))
		smem_brain_ended(batch, &local);
}

/* Looks after the token's file; false while there is nothing that could be sent. */
static bool
check_settings(SmemBrain *brain)
{
	SmemTime now = brain->host->now;
	bool	 changed;

	if (smem_buf_len(&brain->url[SMEM_BRAIN_BATCH]) == 0 || now < brain->check_due)
		return brain->usable;
	brain->check_due = now + SMEM_CHECK_GAP;
	brain->usable = smem_secret_check(&brain->token, &changed, &brain->settings_error);
	if (changed && brain->usable)
		smem_breaker_wake(&brain->brk, now);
	return brain->usable;
}

/* When there is something to send, were the circuit closed and a connection free. */
static SmemTime
next_work(const SmemBrain *brain)
{
	SmemTime now = brain->host->now;
	SmemTime waiting = circuit_closed(brain) ? brain->waiting_next : now;

	if (brain->waiting_count == 0)
		waiting = SMEM_TIME_NEVER;
	return smem_time_min(waiting, smem_lanes_next(brain->lanes, now));
}

SmemTime
smem_brain_dispatch(SmemBrain *brain)
{
	SmemTime   now = brain->host->now;
	SmemTime   work = next_work(brain);
	SmemBatch *batch;

	if (work == SMEM_TIME_NEVER || brain->paused)
		return SMEM_TIME_NEVER;
	if (!check_settings(brain))
		return brain->check_due > now ? brain->check_due : SMEM_TIME_NEVER;
	while (brain->in_flight < brain->concurrency && smem_breaker_would_admit(&brain->brk, now) &&
		   (batch = next_batch(brain)) != NULL)
		send_batch(brain, batch);
	if (brain->in_flight >= brain->concurrency)
		return SMEM_TIME_NEVER;
	work = smem_time_max(next_work(brain), smem_breaker_next(&brain->brk, now));
	/* All that could go now went; where memory was short, time passes before the next try. */
	return work == SMEM_TIME_NEVER ? work : smem_time_max(work, now + SMEM_MSEC);
}
