/*
 * The Kafka sink's own parts, which meet in SmemKafka:
 *
 *   kafka.c          lives of producers, settings, the sink's operations
 *   kafka_outcome.c  what a delivery report means for its row, and for the state
 *   kafka_page.c     exactly once: pages
 */
#ifndef SMEM_COURIER_KAFKA_H
#define SMEM_COURIER_KAFKA_H

#include "courier/backlog.h"
#include "courier/page_record.h"
#include "courier/producer.h"
#include "courier/sink.h"
#include "courier/target.h"

#define SMEM_KAFKA_TEXT 512

typedef enum SmemKafkaPhase
{
	SMEM_KAFKA_WAITING,	  /* no producer; opens one when it is due */
	SMEM_KAFKA_PREPARING, /* exactly once: takes over from the last life */
	SMEM_KAFKA_RUNNING,
	SMEM_KAFKA_FLUSHING, /* begins nothing new; reports still come */
	SMEM_KAFKA_PURGING	 /* failed; gives everything back */
} SmemKafkaPhase;

/* Exactly once: where the page is, which is what a transaction holds; see kafka_page.c. */
typedef enum SmemPageStep
{
	/* The transaction is empty. */
	SMEM_PAGE_NONE,
	/* Rows are handed over, and their reports awaited. */
	SMEM_PAGE_ROWS,
	/* All rows are reported, the record of the page is not. */
	SMEM_PAGE_RECORD,
	/* The commit is ordered. */
	SMEM_PAGE_COMMIT,
	/* The life ended before the commit did: the next one will tell. */
	SMEM_PAGE_DOUBT,
	/* Committed and told; the worker has not recorded it yet. */
	SMEM_PAGE_TOLD
} SmemPageStep;

typedef struct SmemPage
{
	SmemPageStep   step;
	uint32_t	   rows;		/* of the page: so many from the backlog's first on */
	uint32_t	   handed;		/* of them, to the producer */
	uint32_t	   landed;		/* of them, with a good report */
	uint32_t	   limit;		/* ceiling of rows, halved by each page that did not come about */
	bool		   record_held; /* the producer has the record */
	SmemTime	   progress_at; /* of this page */
	SmemPageRecord record;		/* of the page that is at RECORD or beyond */
	SmemBuf		   text;		/* of the record, while the producer has it */
	bool		   known;		/* COMMITTED was sent */
	uint64_t	   last;		/* committed page */
} SmemPage;

typedef struct SmemKafka
{
	SmemHost	  *host;
	SmemBacklog	   rows;
	SmemProducer   producer;
	SmemKafkaPhase phase;
	SmemTime	   due;		/* what the phase waits for, NEVER for nothing */
	SmemTime	   give_up; /* PURGING: when the wire is given up too */
	bool		   full;	/* the producer takes no more until a report */
	bool		   renew;	/* FLUSHING: the next producer is to be another one */
	bool		   paused;	/* nothing is handed over, and no producer opened */
	bool		   fenced;	/* the last life was */

	SmemTarget target;
	bool	   configured;
	bool	   exactly_once;
	SmemPage   page;

	/* Ceilings of a batch, 0 for none. */
	uint32_t batch_rows;  /* while there are suspects */
	uint32_t batch_bytes; /* learnt from what the topic refused */

	/* State. */
	bool	 open;	 /* the circuit */
	bool	 trying; /* a producer was opened since the last failure */
	bool	 all_down;
	uint32_t failures;
	uint64_t retries;
	SmemTime progress_at; /* something was delivered, or rows began to wait */
	char	 last_error[SMEM_KAFKA_TEXT];
} SmemKafka;

/* kafka.c */

/* The life is over: it is purged, and another one follows. */
extern void smem_kafka_fail(SmemKafka *kafka, const char *text);
extern void smem_kafka_purge(SmemKafka *kafka);

/* Hands over the first row that is not; false when no more can be handed over now. */
extern bool smem_kafka_hand_over(SmemKafka *kafka);

/* kafka_outcome.c */

extern const SmemReports smem_kafka_reports;

/* Keeps the text that says why, where it repeats no secret. */
extern void smem_kafka_note_error(SmemKafka *kafka, const char *text);
extern void smem_kafka_end_trouble(SmemKafka *kafka);

/* The outcomes of a row that is delivered, or never will be. */
extern void smem_kafka_deliver(SmemKafka *kafka, SmemPending *row);
extern void smem_kafka_bury(SmemKafka *kafka, SmemPending *row, SmemRefusal why, const char *by);

/* kafka_page.c */

extern void smem_page_init(SmemPage *page);
extern void smem_page_free(SmemPage *page);

/* Does what can be done: begins, hands over, seals, commits, tells. */
extern void smem_kafka_page_step(SmemKafka *kafka);

/* A row of the page has a good report, or left it. */
extern void smem_kafka_page_landed(SmemKafka *kafka);
extern void smem_kafka_page_lost_row(SmemKafka *kafka);

/* The record came back; delivered or not. */
extern void smem_kafka_page_record_back(SmemKafka *kafka, bool delivered);

/* Takes what the transaction's thread has to say. */
extern void smem_kafka_page_poll(SmemKafka *kafka);

/* The life is over, whatever the page was at. */
extern void smem_kafka_page_drop(SmemKafka *kafka);

/* Nothing of it is on the wire, or may be. */
extern bool smem_kafka_page_at_rest(const SmemKafka *kafka);

/* When a page without progress is given up, NEVER while there is none. */
extern SmemTime smem_kafka_page_due(const SmemKafka *kafka);

#endif
