#include "courier/route.h"

#include <string.h>

/* A broker forgets a producer that is idle for a day; long before that we ask anew. */
#define HEARD_FOR (600 * SMEM_SEC)

/* More partitions than any topic has; bounds the table. */
#define PARTITIONS_MAX 100000

typedef struct Heard
{
	SmemTime at;	/* of the last report, 0 for none in this life */
	bool	 asked; /* a first message is on its way */
} Heard;

/* The only code of ours that may run in a thread of librdkafka. */
static int32_t
choose_partition(const rd_kafka_topic_t *topic, const void *key, size_t key_len, int32_t count,
				 void *route, void *message)
{
	(void) message;
	atomic_store_explicit(&((SmemRoute *) route)->partitions, count, memory_order_relaxed);
	return rd_kafka_msg_partitioner_murmur2(topic, key, key_len, count, NULL, NULL);
}

bool
smem_route_open(SmemRoute *route, rd_kafka_t *rk, const char *name, SmemError *err)
{
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(rk);

	atomic_init(&route->partitions, 0);
	route->proven = false;
	smem_buf_init(&route->heard, PARTITIONS_MAX * sizeof(Heard));
	rd_kafka_topic_conf_set_opaque(conf, route);
	rd_kafka_topic_conf_set_partitioner_cb(conf, choose_partition);
	route->topic = rd_kafka_topic_new(rk, name, conf);
	if (route->topic == NULL)
		return smem_error_set(err, SMEM_ERROR_CONFIG, true, "cannot use Kafka topic \"%.120s\": %s",
							  name, rd_kafka_err2str(rd_kafka_last_error()));
	return true;
}

void
smem_route_close(SmemRoute *route)
{
	if (route->topic != NULL)
		rd_kafka_topic_destroy(route->topic);
	smem_buf_free(&route->heard);
	route->topic = NULL;
}

SmemRoute *
smem_route_of(const rd_kafka_message_t *msg)
{
	return rd_kafka_topic_opaque(msg->rkt);
}

/* The table's entry, or NULL where the partition is not known or memory is short. */
static Heard *
heard_of(SmemRoute *route, int32_t partition)
{
	int	   count = atomic_load_explicit(&route->partitions, memory_order_relaxed);
	size_t need = (size_t) count * sizeof(Heard);
	size_t have = smem_buf_len(&route->heard);

	if (partition < 0 || partition >= count || count > PARTITIONS_MAX)
		return NULL;
	if (have < need)
	{
		char *place = smem_buf_reserve(&route->heard, need - have);

		if (place == NULL)
			return NULL;
		memset(place, 0, need - have);
		route->heard.end += need - have;
	}
	return (Heard *) smem_buf_head(&route->heard) + partition;
}

static Heard *
heard_for_key(SmemRoute *route, SmemStr key)
{
	int count = atomic_load_explicit(&route->partitions, memory_order_relaxed);

	if (count <= 0)
		return NULL;
	return heard_of(route, rd_kafka_msg_partitioner_murmur2(route->topic, key.data, key.len, count,
															NULL, NULL));
}

bool
smem_route_admits(SmemRoute *route, SmemStr key, bool idle, SmemTime now)
{
	Heard *heard = route->proven ? heard_for_key(route, key) : NULL;

	if (heard == NULL)
		return idle;
	if (heard->at != 0 && now - heard->at < HEARD_FOR)
		return true;
	return !heard->asked;
}

void
smem_route_note_sent(SmemRoute *route, SmemStr key, SmemTime now)
{
	Heard *heard = heard_for_key(route, key);

	if (heard != NULL && (heard->at == 0 || now - heard->at >= HEARD_FOR))
		heard->asked = true;
}

void
smem_route_note_report(SmemRoute *route, int32_t partition, SmemTime now)
{
	Heard *heard = heard_of(route, partition);

	route->proven = true;
	if (heard == NULL)
		return;
	heard->at = now;
	heard->asked = false;
}
