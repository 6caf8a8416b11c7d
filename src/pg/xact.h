/*
 * The bracket of a writing transaction: counts its rows, savepoints
 * included, and tells the workers at commit.
 */
#ifndef SMEM_PG_XACT_H
#define SMEM_PG_XACT_H

#include <stdbool.h>
#include <stdint.h>

extern void smem_xact_install(void);

/* The current (sub)transaction has written this many rows more. */
extern void smem_xact_wrote(int64_t rows);

/* At commit of this transaction the launcher shall look for databases again. */
extern void smem_xact_rescan_at_commit(void);

/* At the end of this transaction, however it ends, workers may come back to what it has quiesced. */
extern void smem_xact_release_at_end(void);

#endif
