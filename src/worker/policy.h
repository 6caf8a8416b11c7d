/*
 * The policy worker: while somamem.policy is opa, it keeps a courier that
 * sessions ask for decisions, and tells in SmemShared.policy how that goes.
 *
 * It has no database, and no question passes through it: sessions speak with
 * the courier over SMEM_ASK_SOCKET.
 */
#ifndef SMEM_WORKER_POLICY_H
#define SMEM_WORKER_POLICY_H

#include "pg/shmem.h"

extern PGDLLEXPORT void smem_policy_main(Datum arg);

#endif
