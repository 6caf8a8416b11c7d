/*
 * What one record writes: of every settled row of the window, where it goes.
 */
#ifndef SMEM_WORKER_RECORD_H
#define SMEM_WORKER_RECORD_H

#include "worker/shipper.h"

#include "lib/stringinfo.h"
#include "outbox/park.h"
#include "pg/meter.h"

struct SmemRecord
{
	int			   settled[SMEM_DETOURS + 1]; /* rows of each stream, from its first */
	SmemEntry	 **entries;
	int			   n;
	SmemPage	   page;
	StringInfoData receipts;
	SmemParked	  *parked;
	int			   nparked;
	SmemDead	  *dead;
	int			   ndead;
	int64_t		  *unpark;
	int			   nunpark;
	char		 **held; /* tenants that the sink wants nothing of, and until when */
	TimestampTz	  *held_until;
	int			   nheld;
	int64_t		  *told; /* news */
	int			   ntold;
	SmemEntry	 **stuck; /* without an outcome, and parked so that their streams go on */
	int			   nstuck;
	SmemEntry	 **early; /* delivered, before others of their stream that are not */
	int			   nearly;
	int64_t		  *ahead; /* rows that the sink has, and no position after this record */
	int			   nahead;
	int64_t		  *passed; /* rows that were ahead, and are not any more */
	int			   npassed;
	const char	 **tenants; /* of sessions whose parked rows may move up */
	const char	 **sessions;
	int			   ntouched;
	int			   new_parked; /* change of the figures */
	int			   new_delayed;
	int			   done;
	SmemEntry	 **left; /* of entries, those that need nothing more */
	int			   nleft;
	SmemCounts	   persisted[SMEM_ENDS]; /* how long they took */
	TimestampTz	   last_success;
};

/* Makes room for n entries, in the current context. */
extern void smem_record_init(SmemRecord *rec, int n);

/* Sorts a settled row in. */
extern void smem_record_take(SmemShipper *sh, SmemRecord *rec, SmemEntry *entry);

/* A row without an outcome is parked while it is under way, and due in a while unless its outcome comes. */
extern void smem_record_set_aside(SmemShipper *sh, SmemRecord *rec, SmemEntry *entry);

/* Into the log alone: the sink has the row. */
extern void smem_record_delivered(SmemRecord *rec, SmemEntry *entry);
extern void smem_record_log(SmemRecord *rec, int64_t id, uint64_t owner, TimestampTz at,
							const char *receipt);

#endif
