/*
 * One life of a Kafka producer: librdkafka, and nothing of it outside.
 *
 * librdkafka sends, waits, reconnects and retries by itself, and keeps the
 * order of a partition while it does.  A failure that it cannot cure ends its
 * life ("gapless": nothing behind the failure is sent).  Its user then purges
 * it, gets every message back, closes it and opens the next one.
 *
 * Threads of librdkafka touch nothing of ours but a counter and a descriptor
 * that the loop watches: every report is fetched by smem_producer_poll.
 */
#ifndef SMEM_COURIER_PRODUCER_H
#define SMEM_COURIER_PRODUCER_H

#include "core/error.h"
#include "core/time.h"
#include "courier/event.h"
#include "courier/loop.h"
#include "courier/properties.h"
#include "courier/route.h"
#include "courier/transaction.h"

typedef enum SmemProduced
{
	SMEM_PRODUCED_OK,
	SMEM_PRODUCED_FULL,		 /* try again after a report */
	SMEM_PRODUCED_TOO_LARGE, /* this message can never be sent */
	SMEM_PRODUCED_TROUBLE	 /* this producer sends no more */
} SmemProduced;

typedef enum SmemRefusal
{
	SMEM_REFUSAL_TOO_LARGE,
	SMEM_REFUSAL_INVALID
} SmemRefusal;

enum
{
	SMEM_ROUTE_WRITES,
	SMEM_ROUTE_DEAD_LETTERS,
	SMEM_ROUTE_POSITION,
	SMEM_ROUTES
};

typedef struct SmemTopics
{
	const char *writes;
	const char *dead_letters;
	const char *position; /* with transactions only */
} SmemTopics;

/* What poll reports.  A message comes back in exactly one of the first three. */
typedef struct SmemReports
{
	/* The offset is -1 where the broker has the message but did not say where. */
	void (*delivered)(void *arg, void *message, int32_t partition, int64_t offset);

	/* The broker refused the batch because of what it holds; alone: of nothing else. */
	void (*refused)(void *arg, void *message, SmemRefusal why, bool alone);

	/* Not sent, or nobody knows. */
	void (*returned)(void *arg, void *message);

	/* Follows the messages of a refused batch; the life is over. */
	void (*batch_refused)(void *arg, SmemRefusal why, uint32_t rows, size_t bytes);

	/* For the state: what went wrong; fatal where the life is over. */
	void (*trouble)(void *arg, bool fatal, bool all_down, const char *text);
} SmemReports;

typedef struct SmemProducer
{
	rd_kafka_t		 *rk; /* NULL while closed */
	SmemRoute		  routes[SMEM_ROUTES];
	bool			  same_topic; /* dead letters go where writes go */
	rd_kafka_queue_t *queue;
	SmemLoop		 *loop;
	int				  fd; /* readable when the queue has something */
	bool			  woken;
	SmemTxn			 *txn;	/* NULL without transactions */
	uint32_t		  held; /* messages handed over and not come back */
} SmemProducer;

/*
 * False and the reason, which repeats no secret.  With a transactional id the
 * life begins by preparing; nothing is sent before that has ended.
 */
extern bool smem_producer_open(SmemProducer *prod, SmemLoop *loop, const SmemTopics *topics,
							   const SmemProperties *props, SmemError *err);

/* Must hold no message, unless the program ends.  Callable twice; never waits for the network. */
extern void smem_producer_close(SmemProducer *prod);

/*
 * Waits, for a moment at most, until the threads of what was closed are gone;
 * true when they are.  Until then messages and producer must stay in memory
 * where messages were held at the close.
 */
extern bool smem_producer_settle(void);

/* Says whether the event may be handed over now; see courier/route.h. */
extern bool smem_producer_admits(SmemProducer *prod, const SmemEvent *ev, SmemTime now);

/* The event must stay as it is until the message comes back.  Only TROUBLE sets text. */
extern SmemProduced smem_producer_send(SmemProducer *prod, const SmemEvent *ev, SmemStr source,
									   void *message, SmemTime now, SmemError *err);

/*
 * Sends a record of the page to the position topic, inside the transaction.
 * Only from PREPARE's end on is the topic known to be there, as we want it.
 */
extern SmemProduced smem_producer_send_position(SmemProducer *prod, const char *topic, SmemStr key,
												SmemStr value, void *message, SmemError *err);

/* Another life of the same name has taken over, or the broker has lost patience. */
extern bool smem_producer_fenced(const SmemProducer *prod);

/* Fetches what there is, without waiting. */
extern void smem_producer_poll(SmemProducer *prod, const SmemReports *reports, void *arg,
							   SmemTime now);

/* Gives back what was not sent yet, or all of it. */
extern void smem_producer_purge(SmemProducer *prod, bool in_flight_too);

#endif
