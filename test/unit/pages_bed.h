/*
 * A courier that delivers exactly once, and a worker that does its part: it
 * records a page and says so, and after a courier's death it sends again what
 * is neither recorded nor named by COMMITTED.
 *
 * The brokers are librdkafka's mock, which knows the calls of transactions but
 * hides nothing of them, or those that SMEM_KAFKA_BOOTSTRAP names.
 */
#ifndef SMEM_TEST_PAGES_BED_H
#define SMEM_TEST_PAGES_BED_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "drive.h"
#include "tap.h"

#define BED_ROWS 20000
#define BED_SESSIONS 20
#define BED_WINDOW 3000 /* rows without an outcome, at most */
#define BED_PATIENCE_US 30000000

typedef struct Bed
{
	const char				*real; /* brokers, or NULL for the mock */
	rd_kafka_t				*mock;
	rd_kafka_mock_cluster_t *cluster;
	char					 brokers[256];
	char					 topic[64];
	char					 position[80];
	char					 source[64];
	Drive					 drive;
	bool					 slow;	/* does not record by itself */
	int						 large; /* id of a row that no client takes */

	int sent; /* rows that exist; the id of the last */

	/* Of this courier. */
	bool	 committed_came;
	uint64_t committed;
	int		 committed_rows;
	int		 given; /* rows that it was given: all up to this id that are not recorded */
	int		 under_way;
	int		 heap[BED_ROWS]; /* delivered since the last PAGE */
	int		 heaped;
	uint64_t page;	/* the last PAGE */
	int		 early; /* outcomes of rows that had one already */

	/* Durable. */
	bool	 recorded[BED_ROWS + 1];
	bool	 dead[BED_ROWS + 1];
	int		 deaths;
	int		 done;
	uint64_t recorded_page;
	int		 gaps; /* pages whose number is not the next */

	/* Read back. */
	int seen[BED_ROWS + 1];
	int messages;
	int twice;
	int absent;
	int disordered;
} Bed;

static void
bed_record(Bed *bed, int id)
{
	bed->done += !bed->recorded[id];
	bed->recorded[id] = true;
}

static void
bed_outcome(void *arg, const SmemOutcome *out)
{
	Bed *bed = arg;
	int	 id = (int) out->id;

	bed->early += bed->recorded[id];
	bed->under_way--;
	if (out->kind == SMEM_OUTCOME_DEAD)
	{
		bed->dead[id] = true;
		bed->deaths++;
		bed_record(bed, id);
	}
	else
		bed->heap[bed->heaped++] = id;
}

/* The worker's transaction, and what it says afterwards. */
static void
bed_record_page(Bed *bed)
{
	for (int i = 0; i < bed->heaped; i++)
		bed_record(bed, bed->heap[i]);
	bed->heaped = 0;
	bed->recorded_page = bed->page;
	smem_frame_number(&bed->drive.out, SMEM_FRAME_RECORDED, bed->page);
}

static void
bed_frame(void *arg, uint8_t type, SmemReader *rd)
{
	Bed		*bed = arg;
	uint64_t page = smem_get_u64(rd);

	if (type == SMEM_FRAME_PAGE)
	{
		bed->gaps += page != bed->page + 1;
		bed->page = page;
		if (!bed->slow)
			bed_record_page(bed);
		return;
	}
	bed->committed_came = true;
	bed->committed = bed->page = page;
	bed->committed_rows = (int) smem_get_u32(rd);
	for (int i = 0; i < bed->committed_rows; i++)
		bed_record(bed, (int) smem_get_u64(rd));
}

static void
bed_config(Bed *bed)
{
	const char *const pairs[] = {
		"sink",		  "kafka",		 "source",	 bed->source,		   "kafka_brokers",
		bed->brokers, "kafka_topic", bed->topic, "kafka_exactly_once", "on",
		NULL};

	drive_config(&bed->drive, pairs);
}

static void
bed_start(Bed *bed)
{
	bed->committed_came = false;
	bed->given = 0;
	bed->under_way = 0;
	bed->heaped = 0;
	drive_start(&bed->drive, bed_outcome, bed);
	bed->drive.on_frame = bed_frame;
	bed_config(bed);
	/* Until the program runs it holds the mock's sockets. */
	while (!bed->drive.hello && !bed->drive.over)
		drive_turn(&bed->drive, 50);
}

static Bed *
bed_new(const char *real)
{
	static int number;
	Bed		  *bed = calloc(1, sizeof(*bed));

	bed->real = real;
	number++;
	snprintf(bed->topic, sizeof(bed->topic), "pages.%d.%d", (int) getpid(), number);
	snprintf(bed->position, sizeof(bed->position), "%s.position", bed->topic);
	snprintf(bed->source, sizeof(bed->source), "postgresql://7/app%d.%d", (int) getpid(), number);
	if (real != NULL)
		snprintf(bed->brokers, sizeof(bed->brokers), "%s", real);
	else
	{
		rd_kafka_conf_t *conf = rd_kafka_conf_new();

		rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
		bed->mock = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
		bed->cluster = rd_kafka_mock_cluster_new(bed->mock, 1);
		snprintf(bed->brokers, sizeof(bed->brokers), "%s",
				 rd_kafka_mock_cluster_bootstraps(bed->cluster));
		rd_kafka_mock_topic_create(bed->cluster, bed->topic, 3, 1);
		rd_kafka_mock_topic_create(bed->cluster, bed->position, 1, 1);
	}
	bed_start(bed);
	return bed;
}

static void
bed_free(Bed *bed)
{
	if (bed->mock != NULL)
	{
		rd_kafka_mock_cluster_destroy(bed->cluster);
		rd_kafka_destroy(bed->mock);
	}
	free(bed);
}

/* kill -9; what the courier had said and nobody had read is lost with it. */
static void
bed_kill(Bed *bed)
{
	kill(bed->drive.pid, SIGKILL);
	waitpid(bed->drive.pid, NULL, 0);
	close(bed->drive.fd);
	smem_buf_free(&bed->drive.in);
	smem_buf_free(&bed->drive.out);
}

static void
bed_send(Bed *bed, int id, size_t payload_bytes)
{
	static char payload[2 * 1024 * 1024];
	char		session[32];
	char		key[64];
	SmemRow		row = {
			.id = id,
			.created_us = 1700000000000000 + id,
			.tenant = smem_str("acme"),
			.namespace = smem_str("wm"),
			.role = smem_str("user"),
	};

	snprintf(session, sizeof(session), "s%d", id % BED_SESSIONS);
	snprintf(key, sizeof(key), "key/%d", id);
	memset(payload, ' ', payload_bytes);
	payload[0] = '{';
	payload[payload_bytes - 1] = '}';
	row.session = smem_str(session);
	row.key = smem_str(key);
	row.payload = (SmemStr){payload, payload_bytes};
	smem_frame_row(&bed->drive.out, &row);
}

/* The rows go to the courier once it has said COMMITTED, as a worker must. */
static void
bed_feed(Bed *bed)
{
	while (bed->committed_came && bed->given < bed->sent && bed->under_way < BED_WINDOW &&
		   smem_buf_len(&bed->drive.out) < 256 * 1024)
	{
		if (bed->recorded[++bed->given])
			continue;
		bed->under_way++;
		bed_send(bed, bed->given, bed->given == bed->large ? 1500000 : 60);
	}
}

static void
bed_turn(Bed *bed, int timeout_ms)
{
	bed_feed(bed);
	drive_turn(&bed->drive, timeout_ms);
}

#define BED_UNTIL(bed, claim)                                                                      \
	({                                                                                             \
		int64_t until_ = drive_clock_us() + BED_PATIENCE_US;                                       \
		while (!(claim) && !(bed)->drive.over && drive_clock_us() < until_)                        \
			bed_turn(bed, 20);                                                                     \
		(claim);                                                                                   \
	})

/* Turns for a while; for claims that something does not happen. */
static inline void
bed_pass(Bed *bed, int ms)
{
	int64_t end = drive_clock_us() + ms * 1000LL;

	while (!bed->drive.over && drive_clock_us() < end)
		bed_turn(bed, 10);
}

/* Hands every committed message to fn, partition by partition; returns how many. */
static int
bed_read(Bed *bed, const char *topic, int partitions,
		 void (*fn)(void *arg, const rd_kafka_message_t *msg), void *arg)
{
	rd_kafka_conf_t	 *conf = rd_kafka_conf_new();
	rd_kafka_t		 *rk;
	rd_kafka_topic_t *rkt;
	int				  n = 0;

	rd_kafka_conf_set(conf, "bootstrap.servers", bed->brokers, NULL, 0);
	rd_kafka_conf_set(conf, "isolation.level", "read_committed", NULL, 0);
	rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
	rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
	rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
	rkt = rd_kafka_topic_new(rk, topic, NULL);
	for (int i = 0; i < partitions; i++)
	{
		int64_t until = drive_clock_us() + BED_PATIENCE_US;
		bool	ended = false;

		rd_kafka_consume_start(rkt, i, RD_KAFKA_OFFSET_BEGINNING);
		while (!ended && drive_clock_us() < until)
		{
			rd_kafka_message_t *msg = rd_kafka_consume(rkt, i, 100);

			if (msg == NULL)
				continue;
			ended = msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
			if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			{
				n++;
				if (fn != NULL)
					fn(arg, msg);
			}
			rd_kafka_message_destroy(msg);
		}
		rd_kafka_consume_stop(rkt, i);
	}
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
	return n;
}

static int bed_last[BED_SESSIONS];

static void
bed_note(void *arg, const rd_kafka_message_t *msg)
{
	Bed		   *bed = arg;
	const char *at = memmem(msg->payload, msg->len, "\"id\":", 5);
	int			id = at != NULL ? atoi(at + 5) : 0;

	bed->messages++;
	if (id < 1 || id > bed->sent)
		return;
	if (bed->seen[id]++ > 0)
	{
		bed->twice++;
		return;
	}
	bed->disordered += id < bed_last[id % BED_SESSIONS];
	bed_last[id % BED_SESSIONS] = id;
}

/* Everything has its outcome and is recorded; the topic has each row once, in order. */
static void
bed_check(Bed *bed, const char *title)
{
	tap_ok(BED_UNTIL(bed, bed->done == bed->sent), "%s: all %d rows are recorded", title,
		   bed->sent);
	if (bed->done < bed->sent)
		printf("# %d recorded, page %llu, circuit %d, %u in flight, %u queued, %s\n", bed->done,
			   (unsigned long long) bed->page, bed->drive.state.circuit, bed->drive.state.in_flight,
			   bed->drive.state.queued, bed->drive.error);
	memset(bed->seen, 0, sizeof(bed->seen));
	memset(bed_last, 0, sizeof(bed_last));
	bed->messages = bed->twice = bed->absent = bed->disordered = 0;
	bed_read(bed, bed->topic, 3, bed_note, bed);
	for (int id = 1; id <= bed->sent; id++)
		bed->absent += bed->seen[id] == 0 && !bed->dead[id];
	tap_is_int(bed->absent, 0, "rows that are not there");
	tap_is_int(bed->disordered, 0, "rows that passed an earlier one of their session");
	tap_is_int(bed->twice, 0, "rows that are there twice");
	tap_is_int(bed->gaps, 0, "gaps in the pages' numbers");
	tap_is_int(bed->early, 0, "rows with an outcome that were recorded before");
}

#endif
