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

#include "core/error.h"
#include "courier/backlog.h"
#include "courier/producer.h"
#include "courier/sink.h"
#include "courier/target.h"

/* A change or a pause leaves the producer this long to deliver what it has. */
#define FLUSH_FOR (2 * SMEM_SEC)

/* How often a producer that failed is asked again for what is not on the wire. */
#define PURGE_EVERY (20 * SMEM_MSEC)

/* After this, what is on the wire without an answer is sent again, and may be repeated. */
#define ANSWER_WITHIN (5 * SMEM_SEC)

/* Between producers that failed; a topic that was made meanwhile is found within two seconds. */
#define BACKOFF_FIRST (50 * SMEM_MSEC)
#define BACKOFF_MOST (500 * SMEM_MSEC)

/* Rows wait and nothing is delivered: trouble, and sooner when no broker can be reached. */
#define STALLED_AFTER (3 * SMEM_SEC)
#define DOWN_AFTER (500 * SMEM_MSEC)

/* A batch shrinks no further: below this the limit is not the topic's. */
#define BATCH_BYTES_LEAST 1024u

/* Arenas of the library's threads would keep what they freed. */
#define MALLOC_ARENAS 2

#define TEXT_MAX 512

typedef enum KafkaPhase
{
	KAFKA_WAITING, /* no producer; opens one when it is due */
	KAFKA_RUNNING,
	KAFKA_FLUSHING, /* takes no rows; reports still come */
	KAFKA_PURGING	/* failed; gives everything back */
} KafkaPhase;

typedef struct KafkaSink
{
	SmemHost	*host;
	SmemBacklog	 rows;
	SmemProducer producer;
	KafkaPhase	 phase;
	SmemTime	 due;	  /* what the phase waits for, NEVER for nothing */
	SmemTime	 give_up; /* PURGING: when the wire is given up too */
	bool		 full;	  /* the producer takes no more until a report */
	bool		 renew;	  /* FLUSHING: the next producer is to be another one */
	bool		 paused;  /* nothing is handed over, and no producer opened */

	SmemTarget target;

	/* Ceilings of a batch, 0 for none. */
	uint32_t batch_rows;  /* while there are suspects */
	uint32_t batch_bytes; /* learnt from what the topic refused */

	/* State. */
	bool	 open;	 /* the circuit */
	bool	 trying; /* a producer was opened since the last failure */
	bool	 all_down;
	uint32_t failures;
	uint64_t retries;
	SmemTime progress_at; /* something was delivered, or rows began to wait */
	char	 last_error[TEXT_MAX];
} KafkaSink;

static void
close_sink(void *arg)
{
	KafkaSink *kafka = arg;

	smem_producer_close(&kafka->producer);
	if (!smem_producer_settle())
		return; /* the library may still read the rows: the process ends anyway */
	smem_backlog_free(&kafka->rows);
	smem_target_free(&kafka->target);
	smem_release(kafka);
}

static void *
open_sink(SmemHost *host)
{
	KafkaSink *kafka = smem_alloc(sizeof(*kafka));

	mallopt(M_ARENA_MAX, MALLOC_ARENAS);
	if (kafka == NULL)
		return NULL;
	kafka->host = host;
	kafka->due = SMEM_TIME_NEVER;
	smem_target_init(&kafka->target);
	if (smem_backlog_init(&kafka->rows))
		return kafka;
	close_sink(kafka);
	return NULL;
}

/* Keeps the last text that says why; that everything is down is a consequence of it. */
static void
note_error(KafkaSink *kafka, const char *text)
{
	snprintf(kafka->last_error, sizeof(kafka->last_error), "%s", text);
	smem_properties_censor(smem_buf_text(&kafka->target.file), kafka->last_error,
						   sizeof(kafka->last_error));
}

static void
open_circuit(KafkaSink *kafka)
{
	kafka->open = true;
	kafka->trying = false;
	kafka->failures++;
}

static void
end_trouble(KafkaSink *kafka)
{
	kafka->open = false;
	kafka->all_down = false;
	kafka->failures = 0;
	kafka->last_error[0] = '\0';
}

static SmemTime
backoff(const KafkaSink *kafka)
{
	SmemTime wait = BACKOFF_FIRST;

	for (uint32_t i = 1; i < kafka->failures && wait < BACKOFF_MOST; i++)
		wait *= 2;
	return smem_time_min(wait, BACKOFF_MOST);
}

/* From RUNNING: settings changed, the batch limit is lifted, or it was paused. */
static void
to_flushing(KafkaSink *kafka, bool renew)
{
	kafka->phase = KAFKA_FLUSHING;
	kafka->renew = renew;
	kafka->due = kafka->host->now + FLUSH_FOR;
}

/* From FLUSHING, with a producer that may go on. */
static void
back_to_running(KafkaSink *kafka)
{
	kafka->phase = KAFKA_RUNNING;
	kafka->due = SMEM_TIME_NEVER;
}

/* From RUNNING or FLUSHING: the producer failed, or takes too long. */
static void
to_purging(KafkaSink *kafka)
{
	if (kafka->phase != KAFKA_RUNNING && kafka->phase != KAFKA_FLUSHING)
		return;
	kafka->phase = KAFKA_PURGING;
	kafka->due = kafka->host->now;
	kafka->give_up = kafka->host->now + ANSWER_WITHIN;
}

/* From FLUSHING or PURGING, with everything reported. */
static void
to_waiting(KafkaSink *kafka, SmemTime due)
{
	smem_producer_close(&kafka->producer);
	smem_backlog_rewind(&kafka->rows);
	kafka->phase = KAFKA_WAITING;
	kafka->due = due;
}

static void
fail(KafkaSink *kafka, const char *text)
{
	note_error(kafka, text);
	if (kafka->phase == KAFKA_PURGING)
		return;
	open_circuit(kafka);
	to_purging(kafka);
}

static SmemPending *
take_back(KafkaSink *kafka, void *message)
{
	SmemPending *row = message;

	smem_backlog_return(&kafka->rows, row);
	kafka->full = false;
	return row;
}

static void
on_delivered(void *arg, void *message, int32_t partition, int64_t offset)
{
	KafkaSink	*kafka = arg;
	SmemPending *row = message;
	SmemOutcome	 out = {.id = row->id, .kind = SMEM_OUTCOME_DELIVERED};
	char		 receipt[64];

	if (offset < 0)
		snprintf(receipt, sizeof(receipt), "{\"partition\":%d,\"offset\":null}", (int) partition);
	else
		snprintf(receipt, sizeof(receipt), "{\"partition\":%d,\"offset\":%lld}", (int) partition,
				 (long long) offset);
	out.receipt = smem_str(receipt);
	smem_host_outcome(kafka->host, &out);
	smem_backlog_remove(&kafka->rows, row);
	kafka->full = false;
	end_trouble(kafka);
	kafka->progress_at = kafka->host->now;
}

static void
bury(KafkaSink *kafka, SmemPending *row, SmemRefusal why, const char *by)
{
	SmemOutcome out = {.id = row->id, .kind = SMEM_OUTCOME_DEAD};
	char		reason[128];
	const char *what = why == SMEM_REFUSAL_TOO_LARGE ? "as too large" : "as an invalid record";

	snprintf(reason, sizeof(reason), "%s refused the message of %zu bytes %s", by,
			 smem_event_part(&row->event, row->event.value).len, what);
	out.class = smem_str(why == SMEM_REFUSAL_TOO_LARGE ? "too_large" : "invalid_record");
	out.reason = smem_str(reason);
	smem_host_outcome(kafka->host, &out);
	smem_backlog_remove(&kafka->rows, row);
	kafka->progress_at = kafka->host->now;
}

static uint32_t
lesser(uint32_t limit, uint32_t other)
{
	return limit == 0 || other < limit ? other : limit;
}

static void
on_refused(void *arg, void *message, SmemRefusal why, bool alone)
{
	KafkaSink	*kafka = arg;
	SmemPending *row = take_back(kafka, message);

	if (alone)
		bury(kafka, row, why, "Kafka");
	else
		smem_backlog_suspect(&kafka->rows, row);
}

static void
on_returned(void *arg, void *message)
{
	(void) take_back(arg, message);
}

static void
on_batch_refused(void *arg, SmemRefusal why, uint32_t rows, size_t bytes)
{
	KafkaSink *kafka = arg;

	to_purging(kafka);
	if (rows > 1)
		kafka->batch_rows = lesser(kafka->batch_rows, rows / 2);
	if (why == SMEM_REFUSAL_TOO_LARGE && bytes / 2 >= BATCH_BYTES_LEAST)
		kafka->batch_bytes = lesser(kafka->batch_bytes, (uint32_t) (bytes / 2));
}

static void
on_trouble(void *arg, bool fatal, bool all_down, const char *text)
{
	KafkaSink *kafka = arg;

	kafka->trying = false;
	kafka->all_down |= all_down;
	if (fatal)
		fail(kafka, text);
	else if (!all_down || kafka->last_error[0] == '\0')
		note_error(kafka, text);
}

static const SmemReports reports = {
	.delivered = on_delivered,
	.refused = on_refused,
	.returned = on_returned,
	.batch_refused = on_batch_refused,
	.trouble = on_trouble,
};

static void
configure(void *arg, const SmemConfig *config)
{
	KafkaSink *kafka = arg;
	bool	   changed = smem_target_configure(&kafka->target, config);

	if (changed)
		kafka->batch_bytes = 0;
	if (kafka->phase == KAFKA_RUNNING && changed)
		to_flushing(kafka, true);
	else if (kafka->phase == KAFKA_FLUSHING)
		kafka->renew |= changed;
	else if (kafka->phase == KAFKA_WAITING)
		kafka->due = kafka->host->now;
}

static bool
start_producer(KafkaSink *kafka, SmemError *err)
{
	SmemProperties props = {.batch_rows = kafka->batch_rows, .batch_bytes = kafka->batch_bytes};
	SmemTopics	   topics;

	if (!smem_target_use(&kafka->target, err))
		return false;
	topics.writes = smem_buf_text(&kafka->target.topic);
	topics.dead_letters = smem_buf_text(&kafka->target.dead_letter_topic);
	props.brokers = smem_buf_text(&kafka->target.brokers);
	props.file_text = smem_buf_text(&kafka->target.file);
	return smem_producer_open(&kafka->producer, kafka->host->loop, &topics, &props, err);
}

/* From WAITING, when it is due. */
static void
to_running(KafkaSink *kafka)
{
	SmemError err;

	if (!start_producer(kafka, &err))
	{
		note_error(kafka, err.text);
		open_circuit(kafka);
		kafka->due = kafka->host->now + backoff(kafka);
		return;
	}
	kafka->phase = KAFKA_RUNNING;
	kafka->due = SMEM_TIME_NEVER;
	kafka->full = false;
	kafka->trying = true;
}

/* Asked again and again: what comes off the wire goes back into the queue, dead as it is. */
static void
purge(KafkaSink *kafka)
{
	smem_producer_purge(&kafka->producer, kafka->host->now >= kafka->give_up);
	kafka->due = kafka->host->now + PURGE_EVERY;
}

static void
step_phase(KafkaSink *kafka)
{
	SmemTime now = kafka->host->now;
	bool	 all_back = kafka->rows.handed == 0;

	switch (kafka->phase)
	{
		case KAFKA_WAITING:
			if (now >= kafka->due && !kafka->paused)
				to_running(kafka);
			break;
		case KAFKA_RUNNING:
			if (kafka->batch_rows != 0 && kafka->rows.suspects == 0)
			{
				kafka->batch_rows = 0;
				to_flushing(kafka, true);
			}
			else if (kafka->paused && !all_back)
				to_flushing(kafka, false);
			break;
		case KAFKA_FLUSHING:
			if (!kafka->renew && (all_back || !kafka->paused))
				back_to_running(kafka);
			else if (all_back)
				to_waiting(kafka, now);
			else if (now >= kafka->due || kafka->open)
				to_purging(kafka);
			break;
		case KAFKA_PURGING:
			if (all_back)
				to_waiting(kafka, kafka->open ? now + backoff(kafka) : now);
			else if (now >= kafka->due)
				purge(kafka);
			break;
	}
}

/* Hands over one row; false when no more can be handed over now. */
static bool
hand_over(KafkaSink *kafka, SmemPending *row)
{
	SmemStr	  source = smem_str(smem_buf_text(&kafka->target.source));
	SmemError err;

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
			bury(kafka, row, SMEM_REFUSAL_TOO_LARGE, "the Kafka client");
			return true;
		case SMEM_PRODUCED_TROUBLE:
			break;
	}
	fail(kafka, err.text);
	return false;
}

static void
feed(KafkaSink *kafka)
{
	SmemPending *row;

	while (kafka->phase == KAFKA_RUNNING && !kafka->full && !kafka->paused &&
		   (row = kafka->rows.unsent) != NULL &&
		   smem_producer_admits(&kafka->producer, &row->event, kafka->host->now))
	{
		if (!hand_over(kafka, row))
			break;
	}
}

/* Opens the circuit when rows wait in vain; returns when that must be looked at again. */
static SmemTime
judge(KafkaSink *kafka)
{
	SmemTime limit = kafka->progress_at + (kafka->all_down ? DOWN_AFTER : STALLED_AFTER);

	/* Nothing waits, so that nothing would ever show that the trouble is over. */
	if (kafka->open && kafka->rows.count == 0 && kafka->phase == KAFKA_RUNNING)
		end_trouble(kafka);
	if (kafka->rows.count == 0 || kafka->open || kafka->paused)
		return SMEM_TIME_NEVER;
	if (kafka->host->now < limit)
		return limit;
	if (kafka->last_error[0] == '\0')
		note_error(kafka, "no delivery report came from Kafka for some seconds");
	open_circuit(kafka);
	return SMEM_TIME_NEVER;
}

static SmemTime
tick(void *arg)
{
	KafkaSink *kafka = arg;
	KafkaPhase before;

	smem_producer_poll(&kafka->producer, &reports, kafka, kafka->host->now);
	do
	{
		before = kafka->phase;
		step_phase(kafka);
		feed(kafka);
	} while (kafka->phase != before);
	if (kafka->paused && kafka->phase == KAFKA_WAITING)
		return SMEM_TIME_NEVER;
	return smem_time_min(kafka->due, judge(kafka));
}

static bool
accept_row(void *arg, const SmemRow *row)
{
	KafkaSink *kafka = arg;

	if (kafka->rows.count == 0)
		kafka->progress_at = kafka->host->now;
	return smem_backlog_add(&kafka->rows, row);
}

static bool
has_room(void *arg)
{
	return smem_backlog_has_room(&((KafkaSink *) arg)->rows);
}

static void
pause_sink(void *arg, bool paused)
{
	KafkaSink *kafka = arg;

	kafka->paused = paused;
	/* Rows that waited through the pause did not wait in vain. */
	kafka->progress_at = kafka->host->now;
}

static void
try_now(void *arg)
{
	KafkaSink *kafka = arg;

	if (kafka->phase == KAFKA_WAITING)
		kafka->due = kafka->host->now;
}

static void
describe(void *arg, SmemSinkState *state)
{
	KafkaSink *kafka = arg;
	bool	   shown = kafka->open && kafka->last_error[0] != '\0';

	state->circuit = SMEM_CIRCUIT_CLOSED;
	if (kafka->open)
		state->circuit = kafka->trying && kafka->phase == KAFKA_RUNNING ? SMEM_CIRCUIT_HALF_OPEN
																		: SMEM_CIRCUIT_OPEN;
	state->failures = kafka->failures;
	state->retries = kafka->retries;
	state->in_flight = kafka->rows.handed;
	state->queued = kafka->rows.count;
	state->next_attempt_us = kafka->open && kafka->phase == KAFKA_WAITING && !kafka->paused
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
	.tick = tick,
	.state = describe,
	.close = close_sink,
};
