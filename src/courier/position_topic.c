#include "courier/position_topic.h"

#include <stdio.h>
#include <string.h>

#define PARTITION 0
#define ASK_MS 1000	 /* a question about the topic */
#define READ_MS 200	 /* a look for the next record */
#define MAKE_MS 5000 /* the broker's time to make the topic */

/* The newest record of one source among many is seldom far; each look goes so much further back. */
#define STRIDE_FIRST 64
#define STRIDE_FACTOR 8

#define VALUE_MAX ((size_t) 1024 * 1024)

static void
ignore_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void) rk, (void) level, (void) facility, (void) text;
}

bool
smem_position_open(SmemPositionTopic *pos, rd_kafka_conf_t *conf, const char *name, SmemStr key,
				   SmemError *err)
{
	char text[SMEM_ERROR_TEXT];

	memset(pos, 0, sizeof(*pos));
	smem_buf_init(&pos->last, VALUE_MAX);
	pos->name = name;
	pos->key = key;
	pos->end = -1;
	pos->from = -1;
	pos->stride = STRIDE_FIRST;
	rd_kafka_conf_set_log_cb(conf, ignore_log);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR);
	pos->reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	if (pos->reader == NULL)
	{
		rd_kafka_conf_destroy(conf);
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "could not start the Kafka client: %s",
							  text);
	}
	pos->topic = rd_kafka_topic_new(pos->reader, name, NULL);
	if (pos->topic == NULL)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "cannot use Kafka topic \"%.120s\": %s",
							  name, rd_kafka_err2str(rd_kafka_last_error()));
	return true;
}

static void
stop_reading(SmemPositionTopic *pos)
{
	if (pos->from >= 0)
		rd_kafka_consume_stop(pos->topic, PARTITION);
	pos->from = -1;
}

void
smem_position_close(SmemPositionTopic *pos)
{
	if (pos->reader == NULL)
		return;
	stop_reading(pos);
	if (pos->topic != NULL)
		rd_kafka_topic_destroy(pos->topic);
	rd_kafka_destroy(pos->reader);
	smem_buf_free(&pos->last);
	pos->reader = NULL;
}

static SmemPositionStatus
put_off(SmemPositionTopic *pos, const char *what, const char *why, SmemError *err)
{
	smem_error_set(err, SMEM_ERROR_SINK, true, "could not %s Kafka topic \"%.120s\": %.200s", what,
				   pos->name, why);
	return SMEM_POSITION_AGAIN;
}

static SmemPositionStatus
put_off_by(SmemPositionTopic *pos, const char *what, rd_kafka_resp_err_t code, SmemError *err)
{
	return put_off(pos, what, rd_kafka_err2str(code), err);
}

/* Why the topic could not be made, or NULL. */
static const char *
read_answer(rd_kafka_event_t *event, char *text, size_t size)
{
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
	const rd_kafka_topic_result_t		**topics;
	size_t								  n;
	rd_kafka_resp_err_t					  code;

	if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return rd_kafka_event_error_string(event);
	topics = rd_kafka_CreateTopics_result_topics(result, &n);
	if (n != 1)
		return "no answer";
	code = rd_kafka_topic_result_error(topics[0]);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return NULL;
	snprintf(text, size, "%s",
			 rd_kafka_topic_result_error_string(topics[0])
				 ? rd_kafka_topic_result_error_string(topics[0])
				 : rd_kafka_err2str(code));
	return text;
}

static rd_kafka_NewTopic_t *
describe_topic(SmemPositionTopic *pos)
{
	static const char *const settings[][2] = {
		{"cleanup.policy", "compact"},
		/* A page's record is dead with the next page: small segments are cleaned soon. */
		{"segment.bytes", "1048576"},
		{"segment.ms", "3600000"},
	};
	char				 text[256];
	rd_kafka_NewTopic_t *fresh = rd_kafka_NewTopic_new(pos->name, 1, -1, text, sizeof(text));

	for (size_t i = 0; fresh != NULL && i < sizeof(settings) / sizeof(settings[0]); i++)
		rd_kafka_NewTopic_set_config(fresh, settings[i][0], settings[i][1]);
	return fresh;
}

static SmemPositionStatus
make_topic(SmemPositionTopic *pos, SmemError *err)
{
	rd_kafka_NewTopic_t		*fresh = describe_topic(pos);
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(pos->reader, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(pos->reader);
	rd_kafka_event_t *event = NULL;
	char			  text[256];
	const char		 *why = "its name is not valid";

	if (fresh != NULL)
	{
		rd_kafka_AdminOptions_set_request_timeout(options, ASK_MS, NULL, 0);
		rd_kafka_AdminOptions_set_operation_timeout(options, MAKE_MS, NULL, 0);
		rd_kafka_CreateTopics(pos->reader, &fresh, 1, options, queue);
		event = rd_kafka_queue_poll(queue, ASK_MS + MAKE_MS);
		why = event != NULL ? read_answer(event, text, sizeof(text)) : "no answer";
		if (why != NULL)
			put_off(pos, "create", why, err);
		rd_kafka_NewTopic_destroy(fresh);
	}
	if (event != NULL)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_AdminOptions_destroy(options);
	/* Made or not, it is there when its metadata says so. */
	return SMEM_POSITION_AGAIN;
}

SmemPositionStatus
smem_position_ensure(SmemPositionTopic *pos, SmemError *err)
{
	const struct rd_kafka_metadata *known;
	rd_kafka_resp_err_t code = rd_kafka_metadata(pos->reader, 0, pos->topic, &known, ASK_MS);
	bool				there = false;

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		code = known->topic_cnt == 1 ? known->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
		there = code == RD_KAFKA_RESP_ERR_NO_ERROR && known->topics[0].partition_cnt > 0;
		rd_kafka_metadata_destroy(known);
	}
	if (there)
		return SMEM_POSITION_DONE;
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
	{
		put_off_by(pos, "find", code, err);
		return make_topic(pos, err);
	}
	return put_off_by(pos, "find", code, err);
}

/* Sees everything, because the producer's client reads uncommitted. */
static SmemPositionStatus
find_end(SmemPositionTopic *pos, rd_kafka_t *producer, SmemError *err)
{
	rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(producer, pos->name, PARTITION,
																&pos->low, &pos->end, ASK_MS);

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return SMEM_POSITION_DONE;
	pos->end = -1;
	return put_off_by(pos, "find the end of", code, err);
}

static SmemPositionStatus
start_reading(SmemPositionTopic *pos, SmemError *err)
{
	pos->from = pos->end - pos->stride;
	if (pos->from < pos->low)
		pos->from = pos->low;
	pos->held = false;
	smem_buf_reset(&pos->last);
	if (rd_kafka_consume_start(pos->topic, PARTITION, pos->from) == 0)
		return SMEM_POSITION_DONE;
	pos->from = -1;
	return put_off_by(pos, "read", rd_kafka_last_error(), err);
}

static void
keep_record(SmemPositionTopic *pos, const rd_kafka_message_t *msg)
{
	if (msg->key_len != pos->key.len || memcmp(msg->key, pos->key.data, pos->key.len) != 0)
		return;
	smem_buf_reset(&pos->last);
	smem_buf_append(&pos->last, msg->payload, msg->len);
}

/* DONE: all before the end is read. */
static SmemPositionStatus
read_on(SmemPositionTopic *pos, SmemError *err)
{
	rd_kafka_message_t *msg;
	rd_kafka_resp_err_t code;
	int64_t				offset;

	while ((msg = rd_kafka_consume(pos->topic, PARTITION, READ_MS)) != NULL)
	{
		code = msg->err;
		offset = msg->offset;
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			keep_record(pos, msg);
			offset++;
		}
		rd_kafka_message_destroy(msg);
		if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__PARTITION_EOF)
		{
			/* The log may have been cut in front: its bounds are asked for anew. */
			stop_reading(pos);
			pos->end = -1;
			return put_off_by(pos, "read", code, err);
		}
		if (offset >= pos->end)
			return SMEM_POSITION_DONE;
		pos->held = code == RD_KAFKA_RESP_ERR__PARTITION_EOF;
	}
	return put_off(
		pos, "read",
		pos->held ? "a transaction of another producer has not ended yet" : "no answer yet", err);
}

static SmemPositionStatus
understand(SmemPositionTopic *pos, SmemPageRecord *record, SmemError *err)
{
	SmemStr text = {smem_buf_head(&pos->last), smem_buf_len(&pos->last)};

	record->page = 0;
	record->n = 0;
	if (text.len == 0 || smem_page_record_read(text, record))
		return SMEM_POSITION_DONE;
	smem_error_set(err, SMEM_ERROR_SINK, true,
				   "Kafka topic \"%.120s\" holds a position that makes no sense", pos->name);
	return SMEM_POSITION_FAILED;
}

SmemPositionStatus
smem_position_find(SmemPositionTopic *pos, rd_kafka_t *producer, SmemPageRecord *record,
				   SmemError *err)
{
	SmemPositionStatus status = SMEM_POSITION_DONE;
	bool			   all;

	if (pos->end < 0)
		status = find_end(pos, producer, err);
	if (status == SMEM_POSITION_DONE && pos->end > pos->low)
	{
		if (pos->from < 0)
			status = start_reading(pos, err);
		if (status == SMEM_POSITION_DONE)
			status = read_on(pos, err);
	}
	if (status != SMEM_POSITION_DONE)
		return status;
	all = pos->end == pos->low || pos->from == pos->low;
	stop_reading(pos);
	if (smem_buf_len(&pos->last) > 0 || all)
		return understand(pos, record, err);
	pos->stride *= STRIDE_FACTOR;
	return SMEM_POSITION_AGAIN;
}
