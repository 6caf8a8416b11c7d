/*
 * The Kafka sink.
 *
 * Rows wait in the backlog, in the order of their coming, until a delivery
 * report gives them their outcome.  One producer at a time sends them:
 *
 *            settings changed, the batch limit is lifted, or paused
 *      +---------+ --------------------------------> +----------+
 *      | RUNNING | <-------------------------------- | FLUSHING |
 *      +---------+ ---------+   only paused, and all +----------+
 *           ^     it failed |   reported or resumed    |      | all reported
 *           | opened        v        it takes too long |      |
 *      +---------+     +---------+ <-------------------+      |
 *      | WAITING | <-- | PURGING |                            |
 *      +---------+     +---------+                            |
 *           ^  all came back                                  |
 *           +-------------------------------------------------+
 *
 * With exactly once, a life begins by PREPARING, between WAITING and RUNNING,
 * and rows go in pages: kafka_page.c says how, and why that is enough.
 *
 * A session's order holds across producers because nothing is sent by the
 * next one before the last one has given everything back, and because it
 * begins again with the first row that has no outcome.
 *
 * A broker refuses a batch, not a row.  The rows of a refused batch are
 * suspects, and are sent again in batches of half the size, until the one
 * that is refused alone is found: that one is dead.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "courier/kafka.h"

/* A change or a pause leaves the producer this long to deliver what it has. */
#define FLUSH_FOR (2 * SMEM_SEC)

/* How often a producer that failed is asked again for what is not on the wire. */
#define PURGE_EVERY (20 * SMEM_MSEC)

/* After this, what is on the wire without an answer is sent again, and may be repeated. */
#define ANSWER_WITHIN (5 * SMEM_SEC)

/* Between producers that failed; a topic that was made meanwhile is found within two seconds. */
#define BACKOFF_FIRST (50 * SMEM_MSEC)
#define BACKOFF_MOST (500 * SMEM_MSEC)

/* Who was fenced has a rival: the two must not spend their days fencing each other. */
#define FENCED_FOR (5 * SMEM_SEC)

/* Rows wait and nothing is delivered: trouble, and sooner when no broker can be reached. */
#define STALLED_AFTER (3 * SMEM_SEC)
#define DOWN_AFTER (500 * SMEM_MSEC)

/* Arenas of the library's threads would keep what they freed. */
#define MALLOC_ARENAS 2

static void
close_sink(void *arg)
{
	SmemKafka *kafka = arg;

	smem_producer_close(&kafka->producer);
	if (!smem_producer_settle())
		return; /* the library may still read the rows: the process ends anyway */
	smem_backlog_free(&kafka->rows);
	smem_page_free(&kafka->page);
	smem_target_free(&kafka->target);
	smem_release(kafka);
}

static void *
open_sink(SmemHost *host)
{
	SmemKafka *kafka = smem_alloc(sizeof(*kafka));

	mallopt(M_ARENA_MAX, MALLOC_ARENAS);
	if (kafka == NULL)
		return NULL;
	kafka->host = host;
	kafka->due = SMEM_TIME_NEVER;
	smem_target_init(&kafka->target);
	smem_page_init(&kafka->page);
	if (smem_backlog_init(&kafka->rows))
		return kafka;
	close_sink(kafka);
	return NULL;
}

static void
open_circuit(SmemKafka *kafka)
{
	kafka->open = true;
	kafka->trying = false;
	kafka->failures++;
}

static SmemTime
backoff(const SmemKafka *kafka)
{
	SmemTime wait = BACKOFF_FIRST;

	if (kafka->fenced)
		return FENCED_FOR;
	for (uint32_t i = 1; i < kafka->failures && wait < BACKOFF_MOST; i++)
		wait *= 2;
	return smem_time_min(wait, BACKOFF_MOST);
}

/* From RUNNING: settings changed, the batch limit is lifted, or it was paused. */
static void
to_flushing(SmemKafka *kafka, bool renew)
{
	kafka->phase = SMEM_KAFKA_FLUSHING;
	kafka->renew = renew;
	kafka->due = kafka->host->now + FLUSH_FOR;
}

/* From FLUSHING, with a producer that may go on. */
static void
back_to_running(SmemKafka *kafka)
{
	kafka->phase = SMEM_KAFKA_RUNNING;
	kafka->due = SMEM_TIME_NEVER;
}

/* From wherever there is a producer: it failed, or takes too long. */
void
smem_kafka_purge(SmemKafka *kafka)
{
	if (kafka->phase == SMEM_KAFKA_WAITING || kafka->phase == SMEM_KAFKA_PURGING)
		return;
	kafka->fenced = smem_producer_fenced(&kafka->producer);
	kafka->phase = SMEM_KAFKA_PURGING;
	kafka->due = kafka->host->now;
	/* What belongs to no committed page does not count, on the wire or not. */
	kafka->give_up = kafka->host->now + (kafka->exactly_once ? 0 : ANSWER_WITHIN);
}

/* From FLUSHING or PURGING, with everything reported. */
static void
to_waiting(SmemKafka *kafka, SmemTime due)
{
	smem_producer_close(&kafka->producer);
	smem_kafka_page_drop(kafka);
	smem_backlog_rewind(&kafka->rows);
	kafka->phase = SMEM_KAFKA_WAITING;
	kafka->due = due;
}

void
smem_kafka_fail(SmemKafka *kafka, const char *text)
{
	smem_kafka_note_error(kafka, text);
	if (kafka->phase == SMEM_KAFKA_PURGING)
		return;
	open_circuit(kafka);
	smem_kafka_purge(kafka);
}

static void
configure(void *arg, const SmemConfig *config)
{
	SmemKafka *kafka = arg;
	bool	   changed = smem_target_configure(&kafka->target, config);

	/* Pages and single rows keep different promises: the worker begins anew with another courier. */
	if (kafka->configured && kafka->target.exactly_once != kafka->exactly_once)
		kafka->host->broken = true;
	kafka->configured = true;
	kafka->exactly_once = kafka->target.exactly_once;
	if (changed)
		kafka->batch_bytes = 0;
	if (kafka->phase == SMEM_KAFKA_RUNNING && changed)
		to_flushing(kafka, true);
	else if (kafka->phase == SMEM_KAFKA_FLUSHING)
		kafka->renew |= changed;
	else if (kafka->phase == SMEM_KAFKA_PREPARING && changed)
		smem_kafka_purge(kafka);
	else if (kafka->phase == SMEM_KAFKA_WAITING)
		kafka->due = kafka->host->now;
}

static bool
start_producer(SmemKafka *kafka, SmemError *err)
{
	SmemProperties props = {.batch_rows = kafka->batch_rows, .batch_bytes = kafka->batch_bytes};
	SmemTopics	   topics;

	if (!smem_target_use(&kafka->target, err))
		return false;
	topics.writes = smem_buf_text(&kafka->target.topic);
	topics.dead_letters = smem_buf_text(&kafka->target.dead_letter_topic);
	topics.position = smem_buf_text(&kafka->target.position_topic);
	if (kafka->exactly_once)
		props.transactional_id = smem_buf_text(&kafka->target.source);
	props.brokers = smem_buf_text(&kafka->target.brokers);
	props.file_text = smem_buf_text(&kafka->target.file);
	return smem_producer_open(&kafka->producer, kafka->host->loop, &topics, &props, err);
}

/* From WAITING, when it is due: to RUNNING, or to PREPARING first. */
static void
open_life(SmemKafka *kafka)
{
	SmemError err;

	if (!start_producer(kafka, &err))
	{
		smem_kafka_note_error(kafka, err.text);
		open_circuit(kafka);
		kafka->due = kafka->host->now + backoff(kafka);
		return;
	}
	kafka->phase = kafka->exactly_once ? SMEM_KAFKA_PREPARING : SMEM_KAFKA_RUNNING;
	kafka->due = SMEM_TIME_NEVER;
	kafka->full = false;
	kafka->fenced = false;
	if (kafka->exactly_once)
		kafka->progress_at = kafka->host->now;
	kafka->trying = true;
}

/* Asked again and again: what comes off the wire goes back into the queue, dead as it is. */
static void
purge(SmemKafka *kafka)
{
	smem_producer_purge(&kafka->producer, kafka->host->now >= kafka->give_up);
	kafka->due = kafka->host->now + PURGE_EVERY;
}

/* Nothing is on the wire, nor in doubt. */
static bool
at_rest(const SmemKafka *kafka)
{
	return kafka->rows.handed == 0 && !kafka->page.record_held && smem_kafka_page_at_rest(kafka);
}

static void
step_running(SmemKafka *kafka)
{
	kafka->due = smem_kafka_page_due(kafka);
	if (kafka->batch_rows != 0 && kafka->rows.suspects == 0)
	{
		kafka->batch_rows = 0;
		to_flushing(kafka, true);
	}
	else if (kafka->paused && !at_rest(kafka))
		to_flushing(kafka, false);
	else if (kafka->host->now >= kafka->due)
		smem_kafka_fail(kafka, "no delivery report came from Kafka for some seconds");
}

static void
step_phase(SmemKafka *kafka)
{
	SmemTime now = kafka->host->now;
	bool	 all_back = kafka->rows.handed == 0 && !kafka->page.record_held;

	switch (kafka->phase)
	{
		case SMEM_KAFKA_WAITING:
			/* Also while paused, where only Kafka can tell what is still on its way. */
			if (now >= kafka->due && (!kafka->paused || !at_rest(kafka)))
				open_life(kafka);
			break;
		case SMEM_KAFKA_PREPARING:
			break;
		case SMEM_KAFKA_RUNNING:
			step_running(kafka);
			break;
		case SMEM_KAFKA_FLUSHING:
			if (!kafka->renew && (at_rest(kafka) || !kafka->paused))
				back_to_running(kafka);
			else if (at_rest(kafka))
				to_waiting(kafka, now);
			else if (now >= kafka->due || kafka->open)
				smem_kafka_purge(kafka);
			break;
		case SMEM_KAFKA_PURGING:
			if (all_back)
				to_waiting(kafka, kafka->open ? now + backoff(kafka) : now);
			else if (now >= kafka->due)
				purge(kafka);
			break;
	}
}

bool
smem_kafka_hand_over(SmemKafka *kafka)
{
	SmemPending *row = kafka->rows.unsent;
	SmemStr		 source = smem_str(smem_buf_text(&kafka->target.source));
	SmemError	 err;

	switch (smem_producer_send(&kafka->producer, &row->event, source, row, kafka->host->now, &err))
	{
		case SMEM_PRODUCED_OK:
			kafka->retries += row->tries > 0;
			smem_backlog_hand(&kafka->rows, row);
			return true;
		case SMEM_PRODUCED_FULL:
			kafka->full = true;
			return false;
		case SMEM_PRODUCED_TOO_LARGE:
			smem_kafka_bury(kafka, row, SMEM_REFUSAL_TOO_LARGE, "the Kafka client");
			return true;
		case SMEM_PRODUCED_TROUBLE:
			break;
	}
	smem_kafka_fail(kafka, err.text);
	return false;
}

static void
feed(SmemKafka *kafka)
{
	SmemPending *row;

	while (kafka->phase == SMEM_KAFKA_RUNNING && !kafka->full && !kafka->paused &&
		   (row = kafka->rows.unsent) != NULL &&
		   smem_producer_admits(&kafka->producer, &row->event, kafka->host->now))
	{
		if (!smem_kafka_hand_over(kafka))
			break;
	}
}

/* Whether somebody waits for Kafka, rather than for the worker. */
static bool
is_waited_for(const SmemKafka *kafka)
{
	if (kafka->phase == SMEM_KAFKA_PREPARING)
		return true;
	return kafka->rows.count > 0 && !kafka->paused && kafka->page.step != SMEM_PAGE_TOLD;
}

/* Opens the circuit when rows wait in vain; returns when that must be looked at again. */
static SmemTime
judge(SmemKafka *kafka)
{
	SmemTime limit = kafka->progress_at + (kafka->all_down ? DOWN_AFTER : STALLED_AFTER);

	/* Nothing waits, so that nothing would ever show that the trouble is over. */
	if (kafka->open && kafka->rows.count == 0 && kafka->phase == SMEM_KAFKA_RUNNING)
		smem_kafka_end_trouble(kafka);
	if (kafka->open || !is_waited_for(kafka))
		return SMEM_TIME_NEVER;
	if (kafka->host->now < limit)
		return limit;
	if (kafka->last_error[0] == '\0')
		smem_kafka_note_error(kafka, "no delivery report came from Kafka for some seconds");
	open_circuit(kafka);
	return SMEM_TIME_NEVER;
}

static SmemTime
tick(void *arg)
{
	SmemKafka	  *kafka = arg;
	SmemKafkaPhase before;

	smem_producer_poll(&kafka->producer, &smem_kafka_reports, kafka, kafka->host->now);
	smem_kafka_page_poll(kafka);
	do
	{
		before = kafka->phase;
		step_phase(kafka);
		if (kafka->exactly_once)
			smem_kafka_page_step(kafka);
		else
			feed(kafka);
	} while (kafka->phase != before);
	if (kafka->phase == SMEM_KAFKA_RUNNING)
		kafka->due = smem_kafka_page_due(kafka);
	if (kafka->paused && kafka->phase == SMEM_KAFKA_WAITING && at_rest(kafka))
		return SMEM_TIME_NEVER;
	return smem_time_min(kafka->due, judge(kafka));
}

static bool
accept_row(void *arg, const SmemRow *row)
{
	SmemKafka *kafka = arg;

	if (kafka->rows.count == 0)
		kafka->progress_at = kafka->host->now;
	return smem_backlog_add(&kafka->rows, row);
}

static bool
has_room(void *arg)
{
	SmemKafka *kafka = arg;

	/* RECORDED may come behind rows, and nothing goes on without it: the worker's bounds count. */
	if (kafka->page.step == SMEM_PAGE_TOLD)
		return kafka->rows.free != NULL;
	return smem_backlog_has_room(&kafka->rows);
}

static void
pause_sink(void *arg, bool paused)
{
	SmemKafka *kafka = arg;

	kafka->paused = paused;
	/* Rows that waited through the pause did not wait in vain. */
	kafka->progress_at = kafka->host->now;
}

static bool
take_recorded(void *arg, uint64_t page)
{
	SmemKafka *kafka = arg;

	if (!kafka->exactly_once || page > kafka->page.last)
		return false;
	if (page == kafka->page.last && kafka->page.step == SMEM_PAGE_TOLD)
	{
		kafka->page.step = SMEM_PAGE_NONE;
		kafka->progress_at = kafka->host->now;
	}
	return true;
}

static void
try_now(void *arg)
{
	SmemKafka *kafka = arg;

	if (kafka->phase == SMEM_KAFKA_WAITING)
		kafka->due = kafka->host->now;
}

static void
describe(void *arg, SmemSinkState *state)
{
	SmemKafka *kafka = arg;
	bool	   shown = kafka->open && kafka->last_error[0] != '\0';
	bool has_producer = kafka->phase == SMEM_KAFKA_RUNNING || kafka->phase == SMEM_KAFKA_PREPARING;

	state->circuit = SMEM_CIRCUIT_CLOSED;
	if (kafka->open)
		state->circuit = kafka->trying && has_producer ? SMEM_CIRCUIT_HALF_OPEN : SMEM_CIRCUIT_OPEN;
	state->failures = kafka->failures;
	state->retries = kafka->retries;
	state->in_flight = kafka->rows.handed;
	if (state->in_flight == 0 && !at_rest(kafka))
		state->in_flight = 1;
	state->queued = kafka->rows.count;
	state->next_attempt_us = kafka->open && kafka->phase == SMEM_KAFKA_WAITING && !kafka->paused
								 ? smem_host_wall(kafka->host, kafka->due)
								 : 0;
	state->last_error = smem_str(shown ? kafka->last_error : NULL);
}

const SmemSinkOps smem_kafka_sink = {
	.name = "kafka",
	.open = open_sink,
	.configure = configure,
	.accept = accept_row,
	.has_room = has_room,
	.try_now = try_now,
	.pause = pause_sink,
	.recorded = take_recorded,
	.tick = tick,
	.state = describe,
	.close = close_sink,
};
