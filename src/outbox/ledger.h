/*
 * The idempotency ledger: one row per write, unique by the hash of its key.
 *
 * A claim either inserts the row and with it hands out the id, or finds the
 * first one's.  It waits for a transaction in progress that has claimed the
 * same key, so that two sessions racing end with one row.
 */
#ifndef SMEM_OUTBOX_LEDGER_H
#define SMEM_OUTBOX_LEDGER_H

#include "outbox/payload.h"
#include "pg/table.h"

#include "datatype/timestamp.h"

typedef struct SmemLedger
{
	SmemTable		table;
	TupleTableSlot *slot;
	Oid				sequence; /* of ids */
} SmemLedger;

typedef struct SmemClaim
{
	int64 id;
	bool  deduplicated; /* the id is an earlier write's */
	bool  foreign;		/* of another transaction, which has committed */
} SmemClaim;

extern void smem_ledger_open(SmemLedger *ledger, EState *estate);
extern void smem_ledger_close(SmemLedger *ledger);

/* Raises 23505 when the key belongs to a write of other content. */
extern SmemClaim smem_ledger_claim(SmemLedger *ledger, const SmemWrite *write, TimestampTz now);

#endif
