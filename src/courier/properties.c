#include "courier/properties.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/encode.h"

#define FILE_MAX ((size_t) 256 * 1024)

/* One line of the file, cut to name and value. */
typedef struct Property
{
	SmemBuf		text; /* both, each ended by a NUL */
	const char *name;
	const char *value;
	int			line;
} Property;

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* What a file may change. */
static const Setting ours[] = {
	{"client.id", "somamem"},
	/* Half of what a row may take until it is acknowledged is ample for a batch to fill. */
	{"linger.ms", "1"},
	{"socket.nagle.disable", "true"},
	{"socket.keepalive.enable", "true"},
	/* A broker that came back is found within a second. */
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "500"},
	{"retry.backoff.ms", "50"},
	{"socket.connection.setup.timeout.ms", "3000"},
	/* A peer that vanished without a word is given up in seconds, not in the usual minute. */
	{"socket.timeout.ms", "6000"},
	{"request.timeout.ms", "5000"},
	{"topic.metadata.refresh.fast.interval.ms", "100"},
	{"topic.metadata.propagation.max.ms", "1000"},
};

/* What nothing may change, set last. */
static const Setting promises[] = {
	{"enable.idempotence", "true"},
	{"enable.gapless.guarantee", "true"},
	{"acks", "all"},
	{"message.timeout.ms", "0"},
	{"partitioner", "murmur2"},
	/* The end of the position topic is the end of all, committed or not. */
	{"isolation.level", "read_uncommitted"},
};

/* The same for the client that reads positions. */
static const Setting reader[] = {
	{"isolation.level", "read_committed"},
	{"enable.partition.eof", "true"},
	/* To skip what was cut off would be to miss a record. */
	{"auto.offset.reset", "error"},
	{"allow.auto.create.topics", "false"},
	{"enable.auto.commit", "false"},
	{"check.crcs", "true"},
	{"fetch.wait.max.ms", "100"},
	{"fetch.error.backoff.ms", "100"},
};

/* A broker ends a transaction that is open for so long; at least what one request may take. */
#define TRANSACTION_MS 30000

/* Properties that would break a promise, and why a file cannot have them. */
static const Setting refused[] = {
	{"acks", "a row counts as delivered only when all replicas have it"},
	{"request.required.acks", "a row counts as delivered only when all replicas have it"},
	{"enable.idempotence", "rows would be repeated or reordered"},
	{"enable.gapless.guarantee", "rows would be reordered"},
	{"message.timeout.ms", "rows are never given up"},
	{"delivery.timeout.ms", "rows are never given up"},
	{"retries", "rows are never given up"},
	{"message.send.max.retries", "rows are never given up"},
	{"delivery.report.only.error", "outcomes come from delivery reports"},
	{"transactional.id", "it belongs to somamem.kafka_exactly_once"},
	{"transaction.timeout.ms", "it belongs to somamem.kafka_exactly_once"},
	{"isolation.level", "only committed positions may be read"},
	{"bootstrap.servers", "brokers are named by somamem.kafka_brokers"},
	{"metadata.broker.list", "brokers are named by somamem.kafka_brokers"},
	{"partitioner", "a session's rows must meet in one partition for every client"},
	{"log.queue", "the courier has no log queue"},
	{"test.mock.num.brokers", "rows would go to no real broker"},
};

bool
smem_properties_read(const char *path, SmemBuf *text, SmemError *err)
{
	struct stat st;
	int			fd;
	char	   *place;
	ssize_t		n;

	smem_buf_reset(text);
	if (path[0] == '\0')
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "could not open Kafka properties file \"%.120s\": %s", path,
							  strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
	{
		close(fd);
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "Kafka properties file \"%.120s\" is not a regular file", path);
	}
	if (st.st_mode & (S_IRWXG | S_IRWXO))
	{
		close(fd);
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "Kafka properties file \"%.120s\" has group or world access", path);
	}
	while ((place = smem_buf_reserve(text, 4096)) != NULL && (n = read(fd, place, 4096)) > 0)
		text->end += (size_t) n;
	close(fd);
	if (place == NULL || smem_buf_len(text) > FILE_MAX)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "Kafka properties file \"%.120s\" is too large", path);
	if (n < 0)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "could not read Kafka properties file \"%.120s\": %s", path,
							  strerror(errno));
	return true;
}

static void
trim(const char **from, const char **to)
{
	while (*from < *to && isspace((unsigned char) **from))
		(*from)++;
	while (*to > *from && isspace((unsigned char) (*to)[-1]))
		(*to)--;
}

/* Cuts "name=value"; false where there is no name or no sign. */
static bool
cut_line(Property *prop, const char *from, const char *to)
{
	const char *sign = memchr(from, '=', (size_t) (to - from));
	const char *name_to = sign;
	const char *value_from;

	if (sign == NULL)
		return false;
	value_from = sign + 1;
	trim(&from, &name_to);
	trim(&value_from, &to);
	if (from == name_to)
		return false;
	smem_buf_reset(&prop->text);
	smem_buf_append(&prop->text, from, (size_t) (name_to - from));
	smem_buf_putc(&prop->text, '\0');
	smem_buf_append(&prop->text, value_from, (size_t) (to - value_from));
	smem_buf_putc(&prop->text, '\0');
	if (prop->text.failed)
		return false;
	prop->name = smem_buf_head(&prop->text);
	prop->value = prop->name + (name_to - from) + 1;
	return true;
}

/* Moves on to the next property; false at the end.  The name is NULL where a line is none. */
static bool
next_property(Property *prop, const char **at)
{
	while (**at != '\0')
	{
		const char *from = *at;
		const char *to = from + strcspn(from, "\n");

		*at = *to == '\0' ? to : to + 1;
		prop->line++;
		trim(&from, &to);
		if (from == to || *from == '#')
			continue;
		if (!cut_line(prop, from, to))
			prop->name = NULL;
		return true;
	}
	return false;
}

static bool
set_property(rd_kafka_conf_t *conf, const char *name, const char *value, SmemError *err)
{
	char unused[8]; /* librdkafka's text repeats the value */

	switch (rd_kafka_conf_set(conf, name, value, unused, sizeof(unused)))
	{
		case RD_KAFKA_CONF_OK:
			return true;
		case RD_KAFKA_CONF_UNKNOWN:
			return smem_error_set(err, SMEM_ERROR_CONFIG, true,
								  "unrecognized Kafka property \"%.100s\"", name);
		case RD_KAFKA_CONF_INVALID:
			break;
	}
	return smem_error_set(err, SMEM_ERROR_CONFIG, true,
						  "invalid value for Kafka property \"%.100s\"", name);
}

static bool
set_all(rd_kafka_conf_t *conf, const Setting *settings, size_t n, SmemError *err)
{
	for (size_t i = 0; i < n; i++)
	{
		if (!set_property(conf, settings[i].name, settings[i].value, err))
			return false;
	}
	return true;
}

static bool
check_allowed(const char *name, SmemError *err)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		if (strcmp(name, refused[i].name) == 0)
			return smem_error_set(err, SMEM_ERROR_CONFIG, true,
								  "Kafka property \"%s\" cannot be set in a file: %s", name,
								  refused[i].value);
	}
	return true;
}

/*
 * Whether it may be shown as a name.  A key that was pasted with its line
 * ends has lines that look like name=value, and are the secret itself.
 */
static bool
is_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._");

	return n > 0 && text[n] == '\0';
}

static bool
set_line(rd_kafka_conf_t *conf, const Property *prop, SmemError *err)
{
	if (prop->name == NULL || !is_name(prop->name))
		return smem_error_set(err, SMEM_ERROR_CONFIG, true,
							  "line %d of the Kafka properties file is not name=value", prop->line);
	return check_allowed(prop->name, err) && set_property(conf, prop->name, prop->value, err);
}

static bool
set_file(rd_kafka_conf_t *conf, const char *text, SmemError *err)
{
	Property prop = {.line = 0};
	bool	 fine = true;

	smem_buf_init(&prop.text, 2 * FILE_MAX);
	while (fine && next_property(&prop, &text))
		fine = set_line(conf, &prop, err);
	smem_buf_free(&prop.text);
	return fine;
}

/* Lowers a ceiling; what the file asks for stays where it is lower still. */
static bool
lower(rd_kafka_conf_t *conf, const char *name, uint32_t ceiling, SmemError *err)
{
	char   value[32];
	size_t size = sizeof(value);

	if (ceiling == 0)
		return true;
	if (rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK &&
		strtoull(value, NULL, 10) <= ceiling)
		return true;
	snprintf(value, sizeof(value), "%u", (unsigned) ceiling);
	return set_property(conf, name, value, err);
}

/* A number that the configuration has now. */
static long long
get_number(rd_kafka_conf_t *conf, const char *name)
{
	char   value[32];
	size_t size = sizeof(value);

	return rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK ? atoll(value) : 0;
}

static bool
set_transactions(rd_kafka_conf_t *conf, const char *id, SmemError *err)
{
	long long request = get_number(conf, "socket.timeout.ms");
	char	  timeout[32];

	if (id == NULL)
		return true;
	snprintf(timeout, sizeof(timeout), "%lld", request > TRANSACTION_MS ? request : TRANSACTION_MS);
	return set_property(conf, "transactional.id", id, err) &&
		   set_property(conf, "transaction.timeout.ms", timeout, err);
}

rd_kafka_conf_t *
smem_properties_reader(const SmemProperties *props, SmemError *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (set_all(conf, ours, sizeof(ours) / sizeof(ours[0]), err) &&
		set_file(conf, props->file_text, err) &&
		set_all(conf, reader, sizeof(reader) / sizeof(reader[0]), err) &&
		set_property(conf, "bootstrap.servers", props->brokers, err))
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

rd_kafka_conf_t *
smem_properties_conf(const SmemProperties *props, SmemError *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (set_all(conf, ours, sizeof(ours) / sizeof(ours[0]), err) &&
		set_file(conf, props->file_text, err) &&
		set_all(conf, promises, sizeof(promises) / sizeof(promises[0]), err) &&
		set_property(conf, "bootstrap.servers", props->brokers, err) &&
		set_transactions(conf, props->transactional_id, err) &&
		lower(conf, "batch.num.messages", props->batch_rows, err) &&
		lower(conf, "batch.size", props->batch_bytes, err))
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

static bool
is_secret(const char *name)
{
	static const char *const marks[] = {"password", "secret", "pem", "oauthbearer", "username"};

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
	{
		if (strcasestr(name, marks[i]) != NULL)
			return true;
	}
	return false;
}

void
smem_properties_censor(const char *file_text, char *text, size_t size)
{
	Property prop = {.line = 0};

	smem_buf_init(&prop.text, 2 * FILE_MAX);
	/* A line that is none hides no secret behind it: the text may be of an earlier, better file. */
	while (next_property(&prop, &file_text))
	{
		if (prop.name != NULL && is_name(prop.name) && is_secret(prop.name) &&
			prop.value[0] != '\0' && strstr(text, prop.value) != NULL)
			snprintf(text, size, "Kafka client failed (its message repeats property \"%.80s\")",
					 prop.name);
	}
	smem_buf_free(&prop.text);
	/* A broker's own words are in it when it refuses. */
	smem_clean_text(text);
}
