/*
 * Forgetting a tenant, or one session of it, in every table of
 * somamem._tenant_tables().
 */
#ifndef SMEM_OUTBOX_ERASE_H
#define SMEM_OUTBOX_ERASE_H

#include "executor/spi.h"

/*
 * Erases what is committed now, and what this transaction has written itself;
 * session may be NULL.  Returns how many rows.  Needs SPI, and no worker
 * running in this database (pg/quiesce.h).
 */
extern int64 smem_erase(text *tenant, text *session);

#endif
