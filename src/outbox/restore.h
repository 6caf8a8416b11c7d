/*
 * Knowing that a restore is not over.
 *
 * A restore brings rows, their log and the sequence in transactions of their
 * own, and a parallel one in any order: rows without their log would pass for
 * undelivered.
 */
#ifndef SMEM_OUTBOX_RESTORE_H
#define SMEM_OUTBOX_RESTORE_H

#include <stdbool.h>

/*
 * Whether rows, or what is known of them, may still be on their way into this
 * database.  Asked only while nothing was shipped here.  In a transaction.
 */
extern bool smem_restore_runs(void);

#endif
