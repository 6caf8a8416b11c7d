#include <stdio.h>

#include "courier/kafka.h"

/* A batch shrinks no further: below this the limit is not the topic's. */
#define BATCH_BYTES_LEAST 1024u

void
smem_kafka_note_error(SmemKafka *kafka, const char *text)
{
	snprintf(kafka->last_error, sizeof(kafka->last_error), "%s", text);
	smem_properties_censor(smem_buf_text(&kafka->target.file), kafka->last_error,
						   sizeof(kafka->last_error));
}

void
smem_kafka_end_trouble(SmemKafka *kafka)
{
	kafka->open = false;
	kafka->all_down = false;
	kafka->failures = 0;
	kafka->last_error[0] = '\0';
}

void
smem_kafka_deliver(SmemKafka *kafka, SmemPending *row)
{
	SmemOutcome out = {.id = row->id, .kind = SMEM_OUTCOME_DELIVERED};
	char		receipt[64];

	if (row->offset < 0)
		snprintf(receipt, sizeof(receipt), "{\"partition\":%d,\"offset\":null}",
				 (int) row->partition);
	else
		snprintf(receipt, sizeof(receipt), "{\"partition\":%d,\"offset\":%lld}",
				 (int) row->partition, (long long) row->offset);
	out.receipt = smem_str(receipt);
	smem_host_outcome(kafka->host, &out);
	smem_backlog_remove(&kafka->rows, row);
}

void
smem_kafka_bury(SmemKafka *kafka, SmemPending *row, SmemRefusal why, const char *by)
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
	smem_kafka_page_lost_row(kafka);
	kafka->progress_at = kafka->host->now;
}

/* The page's record comes back like a row, and is none. */
static bool
is_record(const SmemKafka *kafka, const void *message)
{
	return message == &kafka->page.record;
}

static void
on_delivered(void *arg, void *message, int32_t partition, int64_t offset)
{
	SmemKafka	*kafka = arg;
	SmemPending *row = message;

	kafka->full = false;
	if (is_record(kafka, message))
	{
		smem_kafka_page_record_back(kafka, true);
		return;
	}
	row->partition = partition;
	row->offset = offset;
	if (kafka->exactly_once)
	{
		smem_backlog_return(&kafka->rows, row);
		smem_kafka_page_landed(kafka);
		return;
	}
	smem_kafka_deliver(kafka, row);
	smem_kafka_end_trouble(kafka);
	kafka->progress_at = kafka->host->now;
}

static void
on_returned(void *arg, void *message)
{
	SmemKafka *kafka = arg;

	kafka->full = false;
	if (is_record(kafka, message))
		smem_kafka_page_record_back(kafka, false);
	else
		smem_backlog_return(&kafka->rows, message);
}

static void
on_refused(void *arg, void *message, SmemRefusal why, bool alone)
{
	SmemKafka *kafka = arg;

	on_returned(arg, message);
	if (is_record(kafka, message))
		return;
	if (alone)
		smem_kafka_bury(kafka, message, why, "Kafka");
	else
		smem_backlog_suspect(&kafka->rows, message);
}

static uint32_t
lesser(uint32_t limit, uint32_t other)
{
	return limit == 0 || other < limit ? other : limit;
}

static void
on_batch_refused(void *arg, SmemRefusal why, uint32_t rows, size_t bytes)
{
	SmemKafka *kafka = arg;

	smem_kafka_purge(kafka);
	if (rows > 1)
		kafka->batch_rows = lesser(kafka->batch_rows, rows / 2);
	if (why == SMEM_REFUSAL_TOO_LARGE && bytes / 2 >= BATCH_BYTES_LEAST)
		kafka->batch_bytes = lesser(kafka->batch_bytes, (uint32_t) (bytes / 2));
}

/* That everything is down is a consequence of what was said before. */
static void
on_trouble(void *arg, bool fatal, bool all_down, const char *text)
{
	SmemKafka *kafka = arg;

	kafka->trying = false;
	kafka->all_down |= all_down;
	if (fatal)
		smem_kafka_fail(kafka, text);
	else if (!all_down || kafka->last_error[0] == '\0')
		smem_kafka_note_error(kafka, text);
}

const SmemReports smem_kafka_reports = {
	.delivered = on_delivered,
	.refused = on_refused,
	.returned = on_returned,
	.batch_refused = on_batch_refused,
	.trouble = on_trouble,
};
