/*
 * A topic of one producer's life, and which of its partitions have answered.
 *
 * A broker checks the sequence of a producer only from the first message on
 * that it has seen of it.  Until then a first batch may fail and a second one,
 * already on its way, pass: so a partition that has not answered in this life
 * gets one message, and the others wait for its report.
 */
#ifndef SMEM_COURIER_ROUTE_H
#define SMEM_COURIER_ROUTE_H

#include <stdatomic.h>

#include <librdkafka/rdkafka.h>

#include "core/error.h"
#include "core/frame.h"
#include "core/time.h"

typedef struct SmemRoute
{
	rd_kafka_topic_t *topic;	  /* NULL while closed */
	atomic_int		  partitions; /* 0 until the topic is known */
	bool			  proven;	  /* something was delivered in this life */
	SmemBuf			  heard;	  /* of each partition */
} SmemRoute;

/* The route must stay where it is until the producer is destroyed. */
extern bool smem_route_open(SmemRoute *route, rd_kafka_t *rk, const char *name, SmemError *err);
extern void smem_route_close(SmemRoute *route);

/* The route of a message that came back. */
extern SmemRoute *smem_route_of(const rd_kafka_message_t *msg);

/* Whether a message with this key may go now; idle: the producer holds none. */
extern bool smem_route_admits(SmemRoute *route, SmemStr key, bool idle, SmemTime now);

extern void smem_route_note_sent(SmemRoute *route, SmemStr key, SmemTime now);
extern void smem_route_note_report(SmemRoute *route, int32_t partition, SmemTime now);

#endif
