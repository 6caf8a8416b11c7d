/*
 * The web worker: where an address is set to be served, it keeps a courier
 * that speaks HTTP there, and renders what that one is asked for.
 *
 * It has no database: documents are made of shared memory alone.  An error in
 * making one ends the process, and the launcher starts another.
 */
#ifndef SMEM_WORKER_WEB_H
#define SMEM_WORKER_WEB_H

#include "pg/shmem.h"

extern PGDLLEXPORT void smem_web_main(Datum arg);

#endif
