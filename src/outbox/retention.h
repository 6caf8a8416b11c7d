/*
 * Forgetting, in small steps: receipts past the idempotency window, in the
 * ledger and in the shipment log, and what operators withdrew before it.
 */
#ifndef SMEM_OUTBOX_RETENTION_H
#define SMEM_OUTBOX_RETENTION_H

/* One step, in a transaction of its own.  Call outside of one. */
extern void smem_retention_step(void);

#endif
