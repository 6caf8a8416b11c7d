/*
 * A worker's place in shared memory: who runs there, and when another may.
 */
#ifndef SMEM_WORKER_SLOT_H
#define SMEM_WORKER_SLOT_H

#include "pg/shmem.h"

/* The place is this process's, or nobody's any more.  Lock held exclusive. */
extern void smem_slot_occupy(SmemSinkSlot *slot);
extern void smem_slot_vacate(SmemSinkSlot *slot, bool clean);

/* Takes the place for this process; false when it is not wanted there any more. */
extern bool smem_slot_attach(SmemDatabaseSlot *db, SmemSink sink);

/* Leaves it, if this process has it. */
extern void smem_slot_detach(SmemDatabaseSlot *db, SmemSink sink, bool clean, bool extension_gone);

/* Whether the pause before the next start is over.  Lock held. */
extern bool smem_slot_may_start(const SmemSinkSlot *slot, TimestampTz now);

/* Nobody runs there; the next start waits longer after each quick end.  Lock held exclusive. */
extern void smem_slot_back_off(SmemSinkSlot *slot, TimestampTz now);

#endif
