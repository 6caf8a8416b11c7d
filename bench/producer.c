/*
 * The bare side of the Kafka benchmark: an idempotent librdkafka producer
 * sending messages of the contract's shape, nothing else.
 *
 * Key, value and headers have the bytes that the courier sends for the same
 * payload.  Prints the rate, from the first message to the last delivery
 * report, and the CPU time a row.  With -r it keeps a pace instead, and prints
 * how long messages took from send to report.  Exits 1 when a delivery failed.
 */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define VALUE_MAX (128 * 1024)

typedef struct Options
{
	const char *topic;
	const char *tenant;
	const char *payloads; /* file of JSON lines; NULL: made up */
	long		rows;
	int			payload_bytes;
	int			sessions;
	double		rate; /* messages a second; 0: as fast as it goes */
} Options;

typedef struct Producer
{
	Options			 options;
	rd_kafka_conf_t *conf;
	rd_kafka_t		*rk;
	char		   **lines;
	size_t			 line_count;
	long			 delivered;
	long			 failed;
	double			*took; /* with a rate: seconds from send to report, by ordinal */
} Producer;

static double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double) (use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		   (double) (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "producer: %s: %s\n", what, detail);
	exit(2);
}

static void
set(Producer *producer, const char *name, const char *value)
{
	char error[512];

	if (rd_kafka_conf_set(producer->conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die("could not configure", error);
}

static void
count_report(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *arg)
{
	Producer *producer = arg;
	long	  ordinal = (long) (intptr_t) msg->_private;

	(void) rk;
	if (msg->err)
		producer->failed++;
	else
		producer->delivered++;
	if (producer->took)
		producer->took[ordinal] = seconds_now() - producer->took[ordinal];
}

static void
read_payloads(Producer *producer)
{
	FILE   *file = fopen(producer->options.payloads, "r");
	char   *line = NULL;
	size_t	size = 0;
	size_t	room = 0;
	ssize_t n;

	if (file == NULL)
		die("could not open", producer->options.payloads);
	while ((n = getline(&line, &size, file)) > 0)
	{
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (producer->line_count == room)
		{
			room = room ? room * 2 : 1024;
			producer->lines = realloc(producer->lines, room * sizeof(char *));
		}
		producer->lines[producer->line_count++] = strdup(line);
	}
	free(line);
	fclose(file);
	if (producer->line_count == 0)
		die("no payloads in", producer->options.payloads);
}

static void
make_payload(Producer *producer)
{
	static char text[64 * 1024];
	int			pad = producer->options.payload_bytes - 150;
	int			n;

	if (pad < 10 || pad > (int) sizeof(text) - 400)
		die("out of range", "payload bytes");
	n = snprintf(text, sizeof(text),
				 "{\"id\": \"m-0001\", \"role\": \"user\", "
				 "\"type\": \"message\", \"tenant\": \"%s\", \"content\": \"",
				 producer->options.tenant);
	memset(text + n, 'x', (size_t) pad);
	snprintf(
		text + n + pad, sizeof(text) - (size_t) (n + pad),
		"\", \"metadata\": {\"timestamp\": \"2024-05-06T07:08:09Z\"}, \"session_id\": \"s-1\"}");
	producer->lines = malloc(sizeof(char *));
	producer->lines[0] = strdup(text);
	producer->line_count = 1;
}

/* Queues one message; a full queue is waited for. */
static void
send_row(Producer *producer, long ordinal, const struct timespec *now)
{
	static char	   value[VALUE_MAX];
	const Options *options = &producer->options;
	long		   session = ordinal % options->sessions;
	char		   key[256];
	char		   id[32];
	int			   key_len = snprintf(key, sizeof(key), "%s/s-%ld", options->tenant, session);
	int			   id_len = snprintf(id, sizeof(id), "%ld", ordinal);
	int			   value_len =
		snprintf(value, sizeof(value),
				 "{\"type\":\"memory.write\",\"id\":%ld,"
				 "\"idempotency_key\":\"%s/wm/s-%ld/user/2024-05-06T07:08:09Z/%016lx\","
				 "\"role\":\"user\",\"session_id\":\"s-%ld\",\"persona_id\":null,"
				 "\"tenant\":\"%s\",\"namespace\":\"wm\",\"payload\":%s,"
				 "\"result\":null,\"timestamp\":%ld.%06ld}",
				 ordinal, options->tenant, session, (unsigned long) ordinal, session,
				 options->tenant, producer->lines[(size_t) ordinal % producer->line_count],
				 (long) now->tv_sec, now->tv_nsec / 1000);
	rd_kafka_resp_err_t err;

	if (value_len >= VALUE_MAX)
		die("too large", "a payload");
	do
	{
		err = rd_kafka_producev(
			producer->rk, RD_KAFKA_V_TOPIC(options->topic), RD_KAFKA_V_KEY(key, (size_t) key_len),
			RD_KAFKA_V_VALUE(value, (size_t) value_len), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
			RD_KAFKA_V_OPAQUE((void *) (intptr_t) ordinal), RD_KAFKA_V_HEADER("ce_id", id, id_len),
			RD_KAFKA_V_HEADER("ce_source", "/somamem/7412345678901234567/app", -1),
			RD_KAFKA_V_HEADER("ce_type", "memory.write", -1),
			RD_KAFKA_V_HEADER("ce_time", "2024-05-06T07:08:09.123456Z", -1),
			RD_KAFKA_V_HEADER("ce_specversion", "1.0", -1), RD_KAFKA_V_END);
		rd_kafka_poll(producer->rk, err == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 10 : 0);
	} while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (err)
		die("could not produce", rd_kafka_err2str(err));
}

static int
compare_times(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Sends at the pace, serving reports meanwhile. */
static void
send_paced(Producer *producer)
{
	const Options  *options = &producer->options;
	double			began = seconds_now();
	struct timespec now;
	long			i;

	for (i = 1; i <= options->rows; i++)
	{
		double due = began + (double) i / options->rate;

		while (seconds_now() < due)
			rd_kafka_poll(producer->rk, 1);
		clock_gettime(CLOCK_REALTIME, &now);
		producer->took[i] = seconds_now();
		send_row(producer, i, &now);
	}
	rd_kafka_flush(producer->rk, 120000);
	qsort(producer->took + 1, (size_t) options->rows, sizeof(double), compare_times);
	printf("rows %ld failed %ld p50_ms %.3f p99_ms %.3f\n", producer->delivered, producer->failed,
		   producer->took[1 + options->rows / 2] * 1e3,
		   producer->took[1 + options->rows * 99 / 100] * 1e3);
}

static void
send_all(Producer *producer)
{
	struct timespec wall_clock;
	double			wall = seconds_now();
	double			cpu = cpu_seconds();
	long			i;

	clock_gettime(CLOCK_REALTIME, &wall_clock);
	for (i = 1; i <= producer->options.rows; i++)
		send_row(producer, i, &wall_clock);
	rd_kafka_flush(producer->rk, 120000);
	wall = seconds_now() - wall;
	cpu = cpu_seconds() - cpu;
	printf("rows %ld failed %ld seconds %.3f rows_per_s %.0f cpu_us_per_row %.2f\n",
		   producer->delivered, producer->failed, wall, (double) producer->delivered / wall,
		   cpu * 1e6 / (double) (producer->delivered ? producer->delivered : 1));
}

static void
read_options(Producer *producer, int argc, char **argv)
{
	Options *options = &producer->options;
	int		 option;

	while ((option = getopt(argc, argv, "b:n:t:T:f:s:p:r:X:")) >= 0)
	{
		char *equals;

		switch (option)
		{
			case 'b':
				set(producer, "bootstrap.servers", optarg);
				break;
			case 'n':
				options->rows = atol(optarg);
				break;
			case 't':
				options->topic = optarg;
				break;
			case 'T':
				options->tenant = optarg;
				break;
			case 'f':
				options->payloads = optarg;
				break;
			case 's':
				options->sessions = atoi(optarg);
				break;
			case 'p':
				options->payload_bytes = atoi(optarg);
				break;
			case 'r':
				options->rate = atof(optarg);
				break;
			case 'X':
				equals = strchr(optarg, '=');
				if (equals == NULL)
					die("no name=value", optarg);
				*equals = '\0';
				set(producer, optarg, equals + 1);
				break;
			default:
				die("usage",
					"producer -b BOOTSTRAP [-n ROWS] [-t TOPIC] [-T TENANT] [-f PAYLOADS] "
					"[-s SESSIONS] [-p PAYLOAD_BYTES] [-r ROWS_PER_SECOND] [-X NAME=VALUE]");
		}
	}
}

/* The topic's creation and the producer's id are not part of the measured time. */
static void
warm_up(Producer *producer)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	send_row(producer, 0, &now);
	rd_kafka_flush(producer->rk, 60000);
	producer->delivered = 0;
}

int
main(int argc, char **argv)
{
	Producer producer = {.options = {.topic = "bench.bare",
									 .tenant = "bench",
									 .rows = 100000,
									 .payload_bytes = 400,
									 .sessions = 1000}};
	char	 error[512];

	producer.conf = rd_kafka_conf_new();
	set(&producer, "enable.idempotence", "true");
	set(&producer, "acks", "all");
	set(&producer, "linger.ms", "5");
	read_options(&producer, argc, argv);
	rd_kafka_conf_set_dr_msg_cb(producer.conf, count_report);
	rd_kafka_conf_set_opaque(producer.conf, &producer);
	if (producer.options.payloads)
		read_payloads(&producer);
	else
		make_payload(&producer);
	producer.rk = rd_kafka_new(RD_KAFKA_PRODUCER, producer.conf, error, sizeof(error));
	if (producer.rk == NULL)
		die("could not start", error);
	warm_up(&producer);
	if (producer.options.rate > 0)
	{
		producer.took = calloc((size_t) producer.options.rows + 2, sizeof(double));
		send_paced(&producer);
	}
	else
		send_all(&producer);
	rd_kafka_destroy(producer.rk);
	return producer.delivered != producer.options.rows;
}
