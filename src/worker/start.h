/*
 * Starting background workers.
 */
#ifndef SMEM_WORKER_START_H
#define SMEM_WORKER_START_H

#include "postmaster/bgworker.h"

/*
 * Starts one, with the name of the database that it serves; NULL for one that
 * needs none.  NULL when no slot is free, which is said unless it was already.
 */
extern BackgroundWorkerHandle *smem_worker_start(const char *function, const char *name, Datum arg,
												 const char *datname, bool reported);

#endif
