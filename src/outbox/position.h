/*
 * How far a sink has come, and the log of what it acknowledged.
 *
 * A position is a moment up to which everything is settled, and, inside a
 * step to a later moment, the id up to which that step's rows are settled.
 * Settled means delivered, parked or dead: somebody else's table has it.
 */
#ifndef SMEM_OUTBOX_POSITION_H
#define SMEM_OUTBOX_POSITION_H

#include "core/sink.h"
#include "outbox/snapshot.h"

#include "datatype/timestamp.h"

typedef struct SmemPosition
{
	SmemMoment from;
	bool	   in_step;
	SmemMoment to;		   /* while in_step */
	int64_t	   after_id;   /* while in_step */
	bool	   restored;   /* the log is another server's, and so are its transaction ids */
	int64_t	   kafka_page; /* last Kafka transaction that is recorded; 0: none */
} SmemPosition;

/* What one recorded page says of its rows; arrays of the same length, in any order. */
typedef struct SmemPage
{
	int			 rows;
	int64_t		*ids;
	int64_t		*owners; /* core/owner.h */
	TimestampTz *delivered_at;
	const char	*receipts; /* JSON array, one element per row */
	int64_t		 bytes;
	TimestampTz	 oldest_commit_at; /* 0 when rows is 0 */
} SmemPage;

/*
 * Reads the newest position of the sink; the beginning of time, and false,
 * when there is none.  After a restore from another server's dump it is the
 * beginning of time, too.  In a transaction.
 */
extern bool smem_position_load(SmemSink sink, SmemPosition *position);

/* Rows that the sink has, of those that a position has not passed yet. */
extern int	smem_ahead_load(SmemSink sink, int64_t **ids);
extern void smem_ahead_add(SmemSink sink, const int64_t *ids, int n);
extern void smem_ahead_remove(SmemSink sink, const int64_t *ids, int n);

/* Appends a row to the shipment log.  In a transaction. */
extern void smem_position_record(SmemSink sink, const SmemPosition *position, const SmemPage *page);

#endif
