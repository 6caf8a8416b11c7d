/*
 * The bracket of a writing transaction: counts its rows, savepoints
 * included, and tells the workers at commit; what operators did to them, too.
 */
#ifndef SMEM_PG_XACT_H
#define SMEM_PG_XACT_H

#include "core/frame.h"
#include "core/sink.h"

extern void smem_xact_install(void);

/* The current (sub)transaction has written this many rows more of the tenant. */
extern void smem_xact_wrote(SmemStr tenant, int64_t rows);

/* At commit of this transaction the launcher shall look for databases again. */
extern void smem_xact_rescan_at_commit(void);

/*
 * At commit of this transaction the sink's shipper shall read again what
 * operators decide; with try_now its courier forgets its pauses, too.
 */
extern void smem_xact_lever_pulled(SmemSink sink, bool try_now);

/* From now on the transaction cannot be prepared: between that and its commit nobody would keep the workers away. */
extern void smem_xact_refuse_prepare(void);

/* At the end of this transaction, however it ends, workers may come back to what it has quiesced. */
extern void smem_xact_release_at_end(void);

#endif
