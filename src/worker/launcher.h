/*
 * The launcher: finds databases with the extension, and keeps a shipper for
 * each of them and each enabled sink; and the policy worker and the web worker,
 * where they are wanted.
 *
 *   FREE ──claim──▶ PROBE ──extension there──▶ ACTIVE ──drop, rename──▶ QUIESCED
 *     ▲              │  ▲                        │                          │
 *     └──not there───┘  ├──extension gone────────┘                          │
 *                       └──end of the transaction───────────────────────────┘
 */
#ifndef SMEM_WORKER_LAUNCHER_H
#define SMEM_WORKER_LAUNCHER_H

#include "pg/shmem.h"

extern PGDLLEXPORT void smem_launcher_main(Datum arg);
extern PGDLLEXPORT void smem_probe_main(Datum arg);

/* start.c: registers the launcher; while libraries are preloaded. */
extern void smem_launcher_register(void);

/* Whether this sink is the first enabled one: its shipper keeps the storage tidy. */
extern bool smem_sink_is_first(SmemSink sink);

/* utility.c: stops a database's workers before DROP DATABASE and its like. */
extern void smem_utility_install(void);

#endif
