/*
 * The launcher: finds databases with the extension, and keeps a shipper for
 * each of them and each enabled sink.
 *
 *   FREE ──claim──▶ PROBE ──extension there──▶ ACTIVE ──▶ QUIESCED (drop, rename)
 *     ▲               │ not there                │              │
 *     └───────────────┴──────extension gone──────┘◀──gone───────┴──▶ PROBE
 */
#ifndef SMEM_WORKER_LAUNCHER_H
#define SMEM_WORKER_LAUNCHER_H

#include "pg/shmem.h"

extern PGDLLEXPORT void smem_launcher_main(Datum arg);
extern PGDLLEXPORT void smem_probe_main(Datum arg);

/* Registers the launcher; while libraries are preloaded. */
extern void smem_launcher_register(void);

/* A shipper's place in shared memory.  Attach says false when it is not wanted any more. */
extern bool smem_slot_attach(SmemDatabaseSlot *db, SmemSink sink);
extern void smem_slot_detach(SmemDatabaseSlot *db, SmemSink sink, bool clean, bool extension_gone);

/* Whether this sink is the first enabled one: its shipper keeps the storage tidy. */
extern bool smem_sink_is_first(SmemSink sink);

/* utility.c: stops a database's workers before DROP DATABASE and its like. */
extern void smem_utility_install(void);

#endif
