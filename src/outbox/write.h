/*
 * Putting writes into the ledger and the outbox, in the caller's transaction.
 */
#ifndef SMEM_OUTBOX_WRITE_H
#define SMEM_OUTBOX_WRITE_H

#include "outbox/ledger.h"

/* What only a single write can ask for. */
typedef struct SmemWriteExtras
{
	TimestampTz deliver_after; /* 0: at once */
	SmemStr		traceparent;   /* may be absent */
} SmemWriteExtras;

/*
 * Stores the writes, in order, and sets claims[i] to each one's receipt.
 *
 * Writes are claimed one by one, so that elements of one call deduplicate
 * each other as well.  Everything it allocates is released.
 */
extern void smem_outbox_write(const SmemWrite *writes, int n, const SmemWriteExtras *extras,
							  SmemClaim *claims);

#endif
