/*
 * The Kafka sink, as the courier program runs it, against librdkafka's mock
 * cluster: errors are injected there, and the topic is read back.  Where
 * SMEM_TEST_KAFKA names the brokers of a real Kafka, the plain cases run
 * against that too.
 *
 * Not a test of functions: what is promised here is promised across the
 * courier's process, librdkafka's threads and a broker.
 */
#include <sys/stat.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "drive.h"
#include "tap.h"

#define ROWS_MAX 4000
#define PATIENCE_MS 20000
#define PRODUCE 0 /* Kafka's number of the request */

typedef struct Outcome
{
	int		  kind; /* 0 while there is none */
	int		  count;
	int		  partition; /* of the receipt */
	long long offset;
	char class[32];
	char reason[200];
} Outcome;

typedef struct Bed
{
	rd_kafka_t				*mock;
	rd_kafka_mock_cluster_t *cluster;
	char					 brokers[256];
	char					 topic[64];
	char					 file[64]; /* properties, or empty */
	Drive					 drive;
	Outcome					 rows[ROWS_MAX]; /* row id - 1 */
	int						 sent;
	int						 sessions;
	bool may_repeat; /* the mock keeps no sequences: a lost answer is appended twice */
	int	 done;
	int	 dead;
	int	 news; /* outcomes of dead letters' news */
	/* Read back from the topic. */
	int seen[ROWS_MAX];
	int messages;
	int misplaced; /* not where its receipt says */
	int disordered;
} Bed;

static void
on_outcome(void *arg, const SmemOutcome *out)
{
	Bed		*bed = arg;
	Outcome *row;
	char	 receipt[128];

	if (out->id < 0)
	{
		bed->news += out->kind == SMEM_OUTCOME_DELIVERED;
		return;
	}
	row = &bed->rows[out->id - 1];
	row->kind = out->kind;
	row->count++;
	bed->done++;
	bed->dead += out->kind == SMEM_OUTCOME_DEAD;
	snprintf(receipt, sizeof(receipt), "%.*s", (int) out->receipt.len,
			 out->receipt.data ? out->receipt.data : "");
	if (sscanf(receipt, "{\"partition\":%d,\"offset\":%lld}", &row->partition, &row->offset) != 2)
		row->partition = -1;
	snprintf(row->class, sizeof(row->class), "%.*s", (int) out->class.len,
			 out->class.data ? out->class.data : "");
	snprintf(row->reason, sizeof(row->reason), "%.*s", (int) out->reason.len,
			 out->reason.data ? out->reason.data : "");
}

static void
send_config(Bed *bed)
{
	const char *const pairs[] = {"sink",
								 "kafka",
								 "source",
								 "postgresql://7/app",
								 "kafka_brokers",
								 bed->brokers,
								 "kafka_topic",
								 bed->topic,
								 "kafka_config_file",
								 bed->file,
								 "kafka_dead_letter_topic",
								 "dlq",
								 NULL};

	drive_config(&bed->drive, pairs);
}

/* Returns when the program runs: until then it holds the mock's sockets, too. */
static void
start_courier(Bed *bed)
{
	int64_t start = drive_clock_us();

	drive_start(&bed->drive, on_outcome, bed);
	send_config(bed);
	while (!bed->drive.hello && drive_clock_us() - start < PATIENCE_MS * 1000LL)
		drive_turn(&bed->drive, 50);
}

/* A cluster of one broker and a topic of three partitions, and a courier that knows them. */
static Bed *
make_bed(const char *properties)
{
	static int		 number;
	Bed				*bed = calloc(1, sizeof(*bed));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char			 text[512];
	FILE			*file;

	rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
	bed->mock = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	bed->cluster = rd_kafka_mock_cluster_new(bed->mock, 1);
	snprintf(bed->brokers, sizeof(bed->brokers), "%s",
			 rd_kafka_mock_cluster_bootstraps(bed->cluster));
	snprintf(bed->topic, sizeof(bed->topic), "wal");
	rd_kafka_mock_topic_create(bed->cluster, bed->topic, 3, 1);
	rd_kafka_mock_topic_create(bed->cluster, "dlq", 3, 1);
	bed->sessions = 20;
	if (properties != NULL)
	{
		snprintf(bed->file, sizeof(bed->file), "/tmp/smem_kafka_test.%d.%d", (int) getpid(),
				 ++number);
		file = fopen(bed->file, "w");
		fputs(properties, file);
		fclose(file);
		chmod(bed->file, 0600);
	}
	start_courier(bed);
	return bed;
}

static void
drop_bed(Bed *bed, const char *title)
{
	tap_is_int(drive_stop(&bed->drive), 0, title);
	if (bed->file[0] != '\0')
		unlink(bed->file);
	if (bed->mock != NULL)
	{
		rd_kafka_mock_cluster_destroy(bed->cluster);
		rd_kafka_destroy(bed->mock);
	}
	free(bed);
}

static void
send_row(Bed *bed, size_t payload_bytes)
{
	static char payload[3 * 1024 * 1024];
	char		session[32];
	char		key[64];
	int			i = bed->sent++;
	SmemRow		row = {
			.id = i + 1,
			.created_us = 1700000000000000 + i,
			.tenant = smem_str("acme"),
			.namespace = smem_str("wm"),
			.role = smem_str("user"),
			.traceparent = smem_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
	};

	snprintf(session, sizeof(session), "s/%d", i % bed->sessions);
	snprintf(key, sizeof(key), "acme/wm/%s/user//%d", session, i);
	memset(payload, ' ', payload_bytes);
	payload[0] = '{';
	payload[payload_bytes - 1] = '}';
	row.session = smem_str(session);
	row.key = smem_str(key);
	row.payload = (SmemStr){payload, payload_bytes};
	smem_frame_row(&bed->drive.out, &row);
}

static void
send_rows(Bed *bed, int n)
{
	for (int i = 0; i < n; i++)
		send_row(bed, 60);
}

static bool
all_done(const Bed *bed)
{
	return bed->done >= bed->sent;
}

static bool
circuit_open(const Bed *bed)
{
	return bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.error[0] != '\0';
}

static bool
circuit_closed(const Bed *bed)
{
	return bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED && bed->drive.error[0] == '\0';
}

/* Turns until the claim holds; returns how long that took in milliseconds, -1 for never. */
static int
until(Bed *bed, bool (*claim)(const Bed *), int patience_ms)
{
	int64_t start = drive_clock_us();

	while (!claim(bed))
	{
		if (bed->drive.over || drive_clock_us() - start > patience_ms * 1000LL)
			return -1;
		drive_turn(&bed->drive, 50);
	}
	return (int) ((drive_clock_us() - start) / 1000);
}

static void
note_message(Bed *bed, const rd_kafka_message_t *msg, int last[])
{
	const char *at = memmem(msg->payload, msg->len, "\"id\":", 5);
	int			id = at != NULL ? atoi(at + 5) : 0;
	int			session;

	bed->messages++;
	if (id < 1 || id > bed->sent)
		return;
	session = (id - 1) % bed->sessions;
	if (bed->seen[id - 1]++ == 0)
	{
		bed->disordered += id < last[session];
		last[session] = id;
	}
	if (bed->rows[id - 1].partition != msg->partition || bed->rows[id - 1].offset != msg->offset)
		bed->misplaced++;
}

static rd_kafka_t *
open_reader(Bed *bed)
{
	rd_kafka_conf_t					*conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(3);
	const struct rd_kafka_metadata	*known;
	rd_kafka_t						*rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", bed->brokers, NULL, 0);
	rd_kafka_conf_set(conf, "group.id", "test", NULL, 0);
	rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
	rd_kafka_conf_set(conf, "enable.auto.commit", "false", NULL, 0);
	rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
	rd_kafka_conf_set(conf, "fetch.error.backoff.ms", "10", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
	rd_kafka_poll_set_consumer(rk);

	/* Asked for now; by itself it would ask only once a second. */
	if (rd_kafka_metadata(rk, 1, NULL, &known, PATIENCE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(known);
	for (int i = 0; i < 3; i++)
		rd_kafka_topic_partition_list_add(parts, bed->topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(rk, parts);
	rd_kafka_topic_partition_list_destroy(parts);
	return rk;
}

/* Reads the topic's three partitions to their ends. */
static void
read_back(Bed *bed)
{
	rd_kafka_t		   *rk = open_reader(bed);
	int					last[64] = {0};
	int64_t				start = drive_clock_us();
	rd_kafka_message_t *msg;
	int					ends = 0;

	memset(bed->seen, 0, sizeof(bed->seen));
	bed->messages = bed->misplaced = bed->disordered = 0;
	while (ends < 3 && drive_clock_us() - start < PATIENCE_MS * 1000LL)
	{
		msg = rd_kafka_consumer_poll(rk, 1000);
		if (msg == NULL)
			continue;
		if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			note_message(bed, msg, last);
		ends += msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		rd_kafka_message_destroy(msg);
	}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
}

/* What was sent has one outcome, and the topic holds what was delivered, once, in order. */
static void
check_all(Bed *bed, int want_dead, const char *title)
{
	int twice = 0;
	int absent = 0;
	int ghosts = 0;

	tap_ok(until(bed, all_done, PATIENCE_MS) >= 0, "%s: every row has an outcome", title);
	read_back(bed);
	for (int i = 0; i < bed->sent; i++)
	{
		twice += bed->rows[i].count > 1 || (bed->seen[i] > 1 && !bed->may_repeat);
		absent += bed->rows[i].kind == SMEM_OUTCOME_DELIVERED && bed->seen[i] == 0;
		ghosts += bed->rows[i].kind != SMEM_OUTCOME_DELIVERED && bed->seen[i] > 0;
	}
	tap_is_int(bed->dead, want_dead, "dead rows");
	tap_ok(bed->messages == bed->sent - want_dead || bed->may_repeat, "%d messages in the topic",
		   bed->messages);
	tap_is_int(twice, 0, "rows with two outcomes or two messages");
	tap_is_int(absent, 0, "rows that were reported and are not there");
	tap_is_int(ghosts, 0, "rows that are there and were not reported");
	tap_is_int(bed->disordered, 0, "rows that passed an earlier one of their session");
	tap_ok(bed->misplaced == 0 || bed->may_repeat, "%d rows are not where their receipt says",
		   bed->misplaced);
}

static void
push_errors(Bed *bed, int n, rd_kafka_resp_err_t code)
{
	for (int i = 0; i < n; i++)
		rd_kafka_mock_push_request_errors(bed->cluster, PRODUCE, 1, code);
}

static void
test_plain_delivery(void)
{
	Bed *bed = make_bed(NULL);

	send_rows(bed, 2000);
	check_all(bed, 0, "2000 rows in 20 sessions");
	tap_ok(bed->drive.hello, "the courier says hello");
	tap_ok(until(bed, circuit_closed, 1000) >= 0, "the circuit is closed");
	tap_is_int((long long) bed->drive.state.retries, 0, "nothing was tried twice");
	drop_bed(bed, "the courier ends well");
}

/* The mock forgets what it refused, so that a repeat passes: no row is to blame. */
static void
test_errors_that_pass(void)
{
	static const struct
	{
		rd_kafka_resp_err_t code;
		int					times;
		const char		   *title;
	} cases[] = {
		{RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 3, "not the leader"},
		{RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 3, "not enough replicas"},
		{RD_KAFKA_RESP_ERR__TRANSPORT, 3, "connection lost"},
		{RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, "not authorized"},
		{RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1, "sequence lost"},
		{RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, 2, "clock refused"},
		{RD_KAFKA_RESP_ERR_UNKNOWN, 2, "unknown error"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Bed *bed = make_bed(NULL);

		bed->may_repeat = cases[i].code == RD_KAFKA_RESP_ERR__TRANSPORT;
		send_rows(bed, 100);
		until(bed, all_done, PATIENCE_MS);
		push_errors(bed, cases[i].times, cases[i].code);
		send_rows(bed, 400);
		check_all(bed, 0, cases[i].title);
		tap_ok(until(bed, circuit_closed, 1000) >= 0, "the circuit is closed again");
		drop_bed(bed, "the courier ends well");
	}
}

static void
test_refused_batch(rd_kafka_resp_err_t code, const char *class)
{
	/* Small batches: when one is refused, others of its session are behind it. */
	Bed *bed = make_bed("batch.num.messages = 10\n");

	/* The first ever: the broker has no sequence yet that later batches would break. */
	push_errors(bed, 1, code);
	bed->sessions = 1;
	send_rows(bed, 1);
	send_rows(bed, 300);
	until(bed, all_done, PATIENCE_MS);
	tap_is(bed->rows[0].class, class, "a row that is refused alone is dead");
	tap_ok(strstr(bed->rows[0].reason, "bytes") != NULL, "and the reason says what it was");
	check_all(bed, 1, "the first batch refused");

	push_errors(bed, 1, code);
	bed->sessions = 1;
	send_rows(bed, 300);
	check_all(bed, 1, "a batch refused whose rows pass alone");
	tap_ok(until(bed, circuit_closed, 1000) >= 0, "a row's trouble leaves the circuit closed");
	drop_bed(bed, "the courier ends well");
}

static bool
outcome_of_last(const Bed *bed)
{
	return bed->rows[bed->sent - 1].kind != 0;
}

static void
send_news(Bed *bed, int i)
{
	char	key[64];
	char	id[64];
	char	extras[64];
	SmemRow row = {
		.id = -1 - i,
		.flags = SMEM_ROW_DEAD_LETTER,
		.created_us = 1700000000000000,
		.tenant = smem_str("acme"),
		.session = smem_str("s/1"),
		.namespace = smem_str("wm"),
		.role = smem_str("user"),
		.payload = smem_str("{}"),
	};

	snprintf(key, sizeof(key), "key/%d", i);
	snprintf(id, sizeof(id), "somabrain/%d", i);
	snprintf(extras, sizeof(extras), "\"id\":%d,\"sink\":\"somabrain\"", i);
	row.key = smem_str(key);
	row.universe = smem_str(id);
	row.extras = smem_str(extras);
	smem_frame_row(&bed->drive.out, &row);
}

static bool
all_news_done(const Bed *bed)
{
	return bed->news == 20;
}

static void
test_dead_letters(void)
{
	Bed *bed = make_bed(NULL);

	for (int i = 0; i < 20; i++)
	{
		send_rows(bed, 10);
		send_news(bed, i + 1);
	}
	tap_ok(until(bed, all_news_done, PATIENCE_MS) >= 0, "news of dead letters have their outcomes");
	check_all(bed, 0, "writes between them");
	snprintf(bed->topic, sizeof(bed->topic), "dlq");
	read_back(bed);
	tap_is_int(bed->messages, 20, "all are in the other topic");
	tap_is_int(bed->disordered, 0, "in order");
	drop_bed(bed, "the courier ends well");
}

static void
test_too_large_for_client(void)
{
	Bed *bed = make_bed("message.max.bytes = 5000\n");

	bed->sessions = 1;
	send_rows(bed, 10);
	send_row(bed, 6000);
	send_rows(bed, 10);
	check_all(bed, 1, "a message above message.max.bytes");
	tap_is(bed->rows[10].class, "too_large", "its class");
	drop_bed(bed, "the courier ends well");
}

static void
test_broker_away(void)
{
	Bed *bed = make_bed(NULL);
	int	 took;

	send_rows(bed, 100);
	until(bed, all_done, PATIENCE_MS);
	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	send_rows(bed, 500);
	tap_ok(until(bed, circuit_open, 5000) >= 0, "broker away: the circuit opens and says why");
	tap_is_int(bed->done, 100, "rows wait without an outcome");
	tap_is_int(bed->drive.state.queued, 500, "and are counted");
	rd_kafka_mock_broker_set_up(bed->cluster, 1);
	took = until(bed, outcome_of_last, 5000);
	tap_ok(took >= 0 && took <= 2000, "delivered within two seconds of its return");
	printf("# it took %d ms\n", took);
	check_all(bed, 0, "broker away and back");
	tap_ok(until(bed, circuit_closed, 1000) >= 0, "the circuit is closed again");
	drop_bed(bed, "the courier ends well");
}

static void
test_queue_full(void)
{
	Bed *bed = make_bed("queue.buffering.max.messages = 5\n");

	send_rows(bed, 1000);
	check_all(bed, 0, "a queue of five messages");
	drop_bed(bed, "the courier ends well");
}

static void
write_file(const Bed *bed, const char *text)
{
	FILE *file = fopen(bed->file, "w");

	fputs(text, file);
	fclose(file);
}

static void
test_properties(void)
{
	static const struct
	{
		const char *text;
		const char *want; /* in the error */
	} cases[] = {
		{"acks=1\n", "\"acks\""},
		{"enable.idempotence = false\n", "\"enable.idempotence\""},
		{"message.timeout.ms=5\n", "\"message.timeout.ms\""},
		{"delivery.timeout.ms=5\n", "\"delivery.timeout.ms\""},
		{"transactional.id=x\n", "\"transactional.id\""},
		{"transaction.timeout.ms=5\n", "\"transaction.timeout.ms\""},
		{"isolation.level=read_uncommitted\n", "\"isolation.level\""},
		{"bootstrap.servers=hidden\n", "\"bootstrap.servers\""},
		{"no.such.thing=hidden\n", "\"no.such.thing\""},
		{"linger.ms=hidden\n", "\"linger.ms\""},
		{"sasl.password hidden\n", "line 1"},
		{"# a comment\n\n  \nhidden\n", "line 4"},
		{"=hidden\n", "line 1"},
		{"security.protocol=ssl\nssl.key.password=hidden\nssl.key.pem=hidden\n", "ssl"},
	};
	Bed *bed = make_bed("retries=1\n");

	send_rows(bed, 10);
	tap_ok(until(bed, circuit_open, 2000) >= 0, "a property that cannot be used opens the circuit");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t start = drive_clock_us();

		write_file(bed, cases[i].text);
		send_config(bed);
		while (strstr(bed->drive.error, cases[i].want) == NULL &&
			   drive_clock_us() - start < 5000000)
			drive_turn(&bed->drive, 50);
		tap_ok(strstr(bed->drive.error, cases[i].want) != NULL, "error names %s", cases[i].want);
		tap_ok(strstr(bed->drive.error, "hidden") == NULL, "and no value");
	}
	write_file(bed, "  # fine\n\tlinger.ms =\t2 \r\ncompression.type=lz4");
	chmod(bed->file, 0640);
	send_config(bed);
	until(bed, circuit_open, 1000);
	for (int i = 0; i < 40 && strstr(bed->drive.error, "group or world") == NULL; i++)
		drive_turn(&bed->drive, 50);
	tap_ok(strstr(bed->drive.error, "group or world") != NULL, "others must not read the file");
	chmod(bed->file, 0600);
	send_config(bed);
	check_all(bed, 0, "cured by a reload");
	drop_bed(bed, "the courier ends well");
}

static void
test_reload_while_rows_wait(void)
{
	Bed *bed = make_bed("linger.ms=200\n");

	send_rows(bed, 100);
	until(bed, all_done, PATIENCE_MS);
	send_rows(bed, 500);
	drive_turn(&bed->drive, 10);
	write_file(bed, "linger.ms=1\n");
	send_config(bed);
	send_rows(bed, 500);
	check_all(bed, 0, "another configuration under load");

	bed->may_repeat = true;
	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	send_rows(bed, 100);
	until(bed, circuit_open, 5000);
	write_file(bed, "linger.ms=3\n");
	send_config(bed);
	send_rows(bed, 100);
	for (int i = 0; i < 10; i++)
		drive_turn(&bed->drive, 50);
	rd_kafka_mock_broker_set_up(bed->cluster, 1);
	check_all(bed, 0, "another configuration while the broker is away");
	drop_bed(bed, "the courier ends well");
}

static void
test_unknown_topic(void)
{
	Bed *bed = make_bed(NULL);

	rd_kafka_mock_topic_set_error(bed->cluster, bed->topic,
								  RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	send_rows(bed, 50);
	tap_ok(until(bed, circuit_open, 6000) >= 0, "an unknown topic opens the circuit");
	tap_ok(strstr(bed->drive.error, "\"wal\"") != NULL, "and is named");
	tap_is_int(bed->done, 0, "rows wait");
	rd_kafka_mock_topic_set_error(bed->cluster, bed->topic, RD_KAFKA_RESP_ERR_NO_ERROR);
	tap_ok(until(bed, all_done, 3000) >= 0, "and are delivered once it is there");
	check_all(bed, 0, "unknown topic");
	drop_bed(bed, "the courier ends well");
}

static bool
at_rest(const Bed *bed)
{
	return bed->drive.state.paused && bed->drive.state.in_flight == 0;
}

static bool
rows_on_wire(const Bed *bed)
{
	return bed->drive.state.in_flight > 0;
}

static bool
nothing_on_wire(const Bed *bed)
{
	return bed->drive.state.in_flight == 0;
}

/* Turns for a while; for claims that something does not happen. */
static void
pass(Bed *bed, int ms)
{
	int64_t end = drive_clock_us() + ms * 1000LL;

	while (!bed->drive.over && drive_clock_us() < end)
		drive_turn(&bed->drive, 20);
}

static void
test_pause(void)
{
	Bed *bed = make_bed(NULL);
	int	 done;

	send_rows(bed, 100);
	until(bed, all_done, PATIENCE_MS);
	until(bed, nothing_on_wire, PATIENCE_MS);
	rd_kafka_mock_broker_set_rtt(bed->cluster, 1, 300);
	send_rows(bed, 200);
	until(bed, rows_on_wire, PATIENCE_MS);
	smem_frame_pause(&bed->drive.out, true);
	send_rows(bed, 200);
	tap_ok(until(bed, at_rest, PATIENCE_MS) >= 0, "a pause comes to rest");
	done = bed->done;
	tap_ok(done > 100, "what was on the wire has its outcome");
	tap_ok(bed->sent - done >= 200, "what came later has none");
	rd_kafka_mock_broker_set_rtt(bed->cluster, 1, 0);
	pass(bed, 500);
	read_back(bed);
	tap_ok(bed->done == done && bed->messages == done, "nothing more goes out");
	tap_ok(circuit_closed(bed), "which is no trouble");
	smem_frame_pause(&bed->drive.out, false);
	check_all(bed, 0, "a pause that is over");

	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	send_rows(bed, 200);
	until(bed, rows_on_wire, PATIENCE_MS);
	smem_frame_pause(&bed->drive.out, true);
	tap_ok(until(bed, at_rest, PATIENCE_MS) >= 0, "it comes to rest while the broker is away, too");
	done = bed->done;
	rd_kafka_mock_broker_set_up(bed->cluster, 1);
	pass(bed, 1500);
	read_back(bed);
	tap_ok(bed->done == done && bed->messages == done,
		   "what the client held does not go out when the broker is back");
	smem_frame_pause(&bed->drive.out, false);
	check_all(bed, 0, "a pause through an outage");
	tap_ok(until(bed, circuit_closed, 1000) >= 0, "the circuit is closed");
	drop_bed(bed, "the courier ends well");
}

static bool
got_pong(const Bed *bed)
{
	return bed->drive.pong == 77;
}

static void
test_end_with_rows_waiting(void)
{
	Bed	  *bed = make_bed(NULL);
	size_t mark;

	rd_kafka_mock_broker_set_down(bed->cluster, 1);
	send_rows(bed, 1000);
	drive_simple(&bed->drive, SMEM_FRAME_TRY_NOW);
	mark = smem_frame_begin(&bed->drive.out, SMEM_FRAME_PING);
	smem_put_u64(&bed->drive.out, 77);
	smem_frame_end(&bed->drive.out, mark);
	tap_ok(until(bed, got_pong, 1000) >= 0, "the courier answers while the broker is away");
	drop_bed(bed, "and ends at once when its worker does");
}

static void
test_real_broker(const char *brokers)
{
	Bed *bed = calloc(1, sizeof(*bed));

	snprintf(bed->brokers, sizeof(bed->brokers), "%s", brokers);
	snprintf(bed->topic, sizeof(bed->topic), "kafka_test_%lld", (long long) time(NULL));
	bed->sessions = 20;
	start_courier(bed);
	send_rows(bed, 3000);
	check_all(bed, 0, "a real broker");
	send_row(bed, 2 * 1000 * 1000);
	send_rows(bed, 20);
	check_all(bed, 1, "a row of two megabytes");
	drop_bed(bed, "the courier ends well");
}

int
main(void)
{
	const char *brokers = getenv("SMEM_TEST_KAFKA");

	signal(SIGPIPE, SIG_IGN);
	test_plain_delivery();
	test_errors_that_pass();
	test_refused_batch(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "too_large");
	test_refused_batch(RD_KAFKA_RESP_ERR_INVALID_RECORD, "invalid_record");
	test_too_large_for_client();
	test_dead_letters();
	test_broker_away();
	test_queue_full();
	test_properties();
	test_reload_while_rows_wait();
	test_unknown_topic();
	test_pause();
	test_end_with_rows_waiting();
	if (brokers != NULL && brokers[0] != '\0')
		test_real_broker(brokers);
	else
		tap_skip("a real broker", "SMEM_TEST_KAFKA is not set");
	return tap_done();
}
