/*
 * The topic that keeps, for each source, the record of its last page.
 *
 * It is written by the producer inside the page's transaction, and read here,
 * by a client of its own, whenever a producer's life begins.  Every call waits
 * for the network, though never long: it is for the thread of a transaction.
 *
 * A reader of committed records sees no further than the oldest transaction
 * that is still open, and other sources write to the same topic.  So reading
 * to the end that it is shown could miss our own last record.  The true end is
 * asked for first, of the producer, which reads everything; then the reader
 * must come that far, and waits for others where it has to.
 */
#ifndef SMEM_COURIER_POSITION_TOPIC_H
#define SMEM_COURIER_POSITION_TOPIC_H

#include <librdkafka/rdkafka.h>

#include "core/error.h"
#include "courier/page_record.h"

typedef enum SmemPositionStatus
{
	SMEM_POSITION_DONE,
	SMEM_POSITION_AGAIN, /* not yet; err says why */
	SMEM_POSITION_FAILED /* what is there makes no sense */
} SmemPositionStatus;

typedef struct SmemPositionTopic
{
	rd_kafka_t		 *reader;
	rd_kafka_topic_t *topic;
	const char		 *name;
	SmemStr			  key;
	int64_t			  low;
	int64_t			  end;	  /* of the log; -1 until it is known */
	int64_t			  from;	  /* where the present reading began, -1 for none under way */
	int64_t			  stride; /* how far before the end */
	bool			  held;	  /* the reader was shown an end before the true one */
	SmemBuf			  last;	  /* value of the newest record with our key, empty for none */
} SmemPositionTopic;

/* Takes the configuration over; name and key stay the caller's. */
extern bool smem_position_open(SmemPositionTopic *pos, rd_kafka_conf_t *conf, const char *name,
							   SmemStr key, SmemError *err);
extern void smem_position_close(SmemPositionTopic *pos);

/* Makes the topic where it is missing. */
extern SmemPositionStatus smem_position_ensure(SmemPositionTopic *pos, SmemError *err);

/* One step of finding the record; page 0 where there is none.  Again and again until DONE. */
extern SmemPositionStatus smem_position_find(SmemPositionTopic *pos, rd_kafka_t *producer,
											 SmemPageRecord *record, SmemError *err);

#endif
