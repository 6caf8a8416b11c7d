/*
 * Copies a whole Kafka topic to standard output, a JSON object a line:
 *
 *   {"partition","offset","timestamp","key","headers":[[name,value],...],"value"}
 *
 * value is the message's own text, not a string of it, where it begins like a
 * JSON object; the bytes are not changed.  Reads each partition from its
 * beginning to where it ended when the program was started, and ends.  A topic
 * that does not exist is empty.  With -c only committed messages are shown.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#include "text.h"

#define TIMEOUT_MS 30000
#define LINE_MAX_BYTES ((size_t) 256 * 1024 * 1024)
#define FLUSH_BYTES ((size_t) 1024 * 1024)

typedef struct Dump
{
	rd_kafka_t						*rk;
	rd_kafka_topic_partition_list_t *parts;
	int								 open; /* partitions not yet at their end */
	long							 messages;
	SmemBuf							 out;
} Dump;

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "kafkadump: %s: %s\n", what, detail);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die("could not configure", error);
}

/* Takes librdkafka properties, one name=value a line, as the courier does. */
static void
read_properties(rd_kafka_conf_t *conf, const char *path)
{
	FILE *file = fopen(path, "r");
	char  line[1024];

	if (file == NULL)
		die("could not open", path);
	while (fgets(line, sizeof(line), file))
	{
		char *equals = strchr(line, '=');

		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '#' || equals == NULL)
			continue;
		*equals = '\0';
		set(conf, line, equals + 1);
	}
	fclose(file);
}

static rd_kafka_t *
open_consumer(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t		*rk;
	char			 error[512];
	int				 option;

	set(conf, "group.id", "kafkadump");
	set(conf, "enable.auto.commit", "false");
	set(conf, "enable.partition.eof", "true");
	set(conf, "auto.offset.reset", "earliest");
	set(conf, "isolation.level", "read_uncommitted");
	set(conf, "fetch.wait.max.ms", "10");
	set(conf, "check.crcs", "true");
	while ((option = getopt(argc, argv, "b:cf:")) >= 0)
	{
		if (option == 'b')
			set(conf, "bootstrap.servers", optarg);
		else if (option == 'c')
			set(conf, "isolation.level", "read_committed");
		else if (option == 'f')
			read_properties(conf, optarg);
		else
			die("usage", "kafkadump -b BOOTSTRAP [-c] [-f PROPERTIES] TOPIC");
	}
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (rk == NULL)
		die("could not start", error);
	rd_kafka_poll_set_consumer(rk);
	return rk;
}

/* Fills in the partitions, each from its beginning; none where the topic does not exist. */
static void
find_partitions(Dump *dump, const char *topic)
{
	rd_kafka_topic_t			   *rkt = rd_kafka_topic_new(dump->rk, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err = rd_kafka_metadata(dump->rk, 0, rkt, &metadata, TIMEOUT_MS);
	int					i;

	if (err)
		die("could not read the topic's metadata", rd_kafka_err2str(err));
	dump->parts = rd_kafka_topic_partition_list_new(1);
	for (i = 0; i < metadata->topics[0].partition_cnt; i++)
	{
		int32_t id = metadata->topics[0].partitions[i].id;
		int64_t low = 0;
		int64_t high = 0;

		err = rd_kafka_query_watermark_offsets(dump->rk, topic, id, &low, &high, TIMEOUT_MS);
		if (err)
			die("could not read a partition's end", rd_kafka_err2str(err));
		if (high > low)
			rd_kafka_topic_partition_list_add(dump->parts, topic, id)->offset = low;
	}
	dump->open = dump->parts->cnt;
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(rkt);
}

static void
flush(Dump *dump)
{
	size_t n = smem_buf_len(&dump->out);

	if (dump->out.failed || fwrite(smem_buf_head(&dump->out), 1, n, stdout) != n)
		die("could not write", "standard output");
	smem_buf_reset(&dump->out);
}

static SmemSlice
slice_of(const void *data, size_t len)
{
	SmemSlice slice = {data, len};

	return slice;
}

static void
put_headers(Dump *dump, const rd_kafka_message_t *msg)
{
	rd_kafka_headers_t *headers;
	const char		   *name;
	const void		   *value;
	size_t				size;
	size_t				i;

	smem_buf_puts(&dump->out, ",\"headers\":[");
	if (rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
		for (i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0; i++)
		{
			smem_buf_puts(&dump->out, i > 0 ? ",[" : "[");
			smem_text_json(&dump->out, smem_slice(name));
			smem_buf_putc(&dump->out, ',');
			smem_text_json(&dump->out, slice_of(value, size));
			smem_buf_putc(&dump->out, ']');
		}
	smem_buf_putc(&dump->out, ']');
}

static void
put_value(Dump *dump, const rd_kafka_message_t *msg)
{
	SmemSlice value = slice_of(msg->payload, msg->len);

	smem_buf_puts(&dump->out, ",\"value\":");
	if (value.len > 0 && value.data[0] == '{' && memchr(value.data, '\n', value.len) == NULL)
		smem_buf_append(&dump->out, value.data, value.len);
	else
		smem_text_json(&dump->out, value);
}

static void
put_message(Dump *dump, const rd_kafka_message_t *msg)
{
	rd_kafka_timestamp_type_t type;

	smem_buf_printf(&dump->out, "{\"partition\":%d,\"offset\":%lld,\"timestamp\":%lld,\"key\":",
					(int) msg->partition, (long long) msg->offset,
					(long long) rd_kafka_message_timestamp(msg, &type));
	smem_text_json(&dump->out, slice_of(msg->key, msg->key_len));
	put_headers(dump, msg);
	put_value(dump, msg);
	smem_buf_puts(&dump->out, "}\n");
	dump->messages++;
	if (smem_buf_len(&dump->out) > FLUSH_BYTES)
		flush(dump);
}

/* Reads on until every partition met its end; messages that came meanwhile are shown too. */
static void
read_all(Dump *dump)
{
	time_t last = time(NULL);

	if (rd_kafka_assign(dump->rk, dump->parts))
		die("could not read", "the partitions cannot be assigned");
	while (dump->open > 0)
	{
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(dump->rk, 1000);

		if (msg == NULL)
		{
			if (time(NULL) - last > TIMEOUT_MS / 1000)
				die("could not read", "no answer from the broker");
			continue;
		}
		last = time(NULL);
		if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			put_message(dump, msg);
		else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			dump->open--;
		else if (msg->err != RD_KAFKA_RESP_ERR__TRANSPORT &&
				 msg->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
			die("could not read", rd_kafka_message_errstr(msg));
		rd_kafka_message_destroy(msg);
	}
}

int
main(int argc, char **argv)
{
	Dump dump = {.rk = open_consumer(argc, argv)};

	if (optind + 1 != argc)
		die("usage", "kafkadump -b BOOTSTRAP [-c] [-f PROPERTIES] TOPIC");
	smem_buf_init(&dump.out, LINE_MAX_BYTES);
	find_partitions(&dump, argv[optind]);
	if (dump.open > 0)
		read_all(&dump);
	flush(&dump);
	if (fflush(stdout) != 0)
		die("could not write", "standard output");
	rd_kafka_topic_partition_list_destroy(dump.parts);
	rd_kafka_consumer_close(dump.rk);
	rd_kafka_destroy(dump.rk);
	return 0;
}
