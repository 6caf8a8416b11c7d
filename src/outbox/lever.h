/*
 * What the operators' levers do to the tables.
 *
 * All calls need SPI and a transaction that may write.  Those that move rows
 * rely on no worker running in this database (pg/quiesce.h): then what is not
 * parked, dead or ahead of a sink's position has been delivered.  retry and
 * pause go without: they never wait for a worker, and it never for long.
 */
#ifndef SMEM_OUTBOX_LEVER_H
#define SMEM_OUTBOX_LEVER_H

#include "core/frame.h"
#include "core/sink.h"

#include "executor/spi.h"

typedef struct SmemRedriven
{
	int64 rows;
	int64 late;	   /* of these, behind later rows of their sessions that the sink has */
	int64 unknown; /* of these, with a payload that only the dead letter had kept */
} SmemRedriven;

extern void smem_lever_pause(SmemSink sink, bool paused);

/* Heads of sessions that wait for their next attempt are due now; of one row where id is not NULL. */
extern int64 smem_lever_retry(SmemSink sink, const int64 *id);

/* Dead letters back into the queue; tenant and id may be NULL. */
extern void smem_lever_redrive(SmemSink sink, text *tenant, const int64 *id, SmemRedriven *result);

/*
 * Delivered rows back into the queue; tenant may be NULL.  Left out, and
 * counted, are those that the sink has and its position has not passed.
 */
extern int64 smem_lever_replay(SmemSink sink, int64 from_id, int64 to_id, text *tenant,
							   int64 *left_out);

/* Gives up a dead letter or parked row; false when there is none, or, where a tenant is named, none of it. */
extern bool smem_lever_discard(SmemSink sink, int64 id, SmemStr tenant);

#endif
