#include "postgres.h"

#include "worker/slot.h"

#include "miscadmin.h"
#include "utils/timestamp.h"
#include "worker/clock.h"

#define BACKOFF_FIRST_US ((int64) 200000)
#define BACKOFF_MAX_US ((int64) 30000000)

/* A worker that lived this long was not a failed start. */
#define STEADY_US ((int64) 10000000)

void
smem_slot_back_off(SmemSinkSlot *slot, TimestampTz now)
{
	int64 pause = BACKOFF_FIRST_US;

	if (slot->started_at != 0 && now - slot->started_at > STEADY_US)
		slot->failures = 0;
	slot->started_at = 0;
	for (int i = 0; i < slot->failures && pause < BACKOFF_MAX_US; i++)
		pause *= 2;
	slot->failures++;
	slot->state = SMEM_WORKER_BACKOFF;
	slot->restart_at = now + Min(pause, BACKOFF_MAX_US);
	slot->pid = 0;
	slot->latch = NULL;
}

bool
smem_slot_may_start(const SmemSinkSlot *slot, TimestampTz now)
{
	return slot->state != SMEM_WORKER_BACKOFF ||
		   smem_clock_is_due(slot->restart_at, now, BACKOFF_MAX_US);
}

void
smem_slot_occupy(SmemSinkSlot *slot)
{
	slot->state = SMEM_WORKER_RUNNING;
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->started_at = GetCurrentTimestamp();
	slot->last_error[0] = '\0';
}

void
smem_slot_vacate(SmemSinkSlot *slot, bool clean)
{
	smem_slot_back_off(slot, GetCurrentTimestamp());
	slot->courier_pid = 0;
	if (clean)
		slot->state = SMEM_WORKER_STOPPED;
}

bool
smem_slot_attach(SmemDatabaseSlot *db, SmemSink sink)
{
	SmemSinkSlot *slot = &db->sink[sink];
	bool		  wanted;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	wanted = db->state == SMEM_DATABASE_ACTIVE && slot->pid == 0;
	if (wanted)
	{
		smem_slot_occupy(slot);
		pg_atomic_write_u32(&slot->woken, 1);
	}
	LWLockRelease(smem_shared->lock);
	return wanted;
}

void
smem_slot_detach(SmemDatabaseSlot *db, SmemSink sink, bool clean, bool extension_gone)
{
	SmemSinkSlot *slot = &db->sink[sink];

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
		smem_slot_vacate(slot, clean);
	if (extension_gone && db->state == SMEM_DATABASE_ACTIVE)
	{
		db->state = SMEM_DATABASE_PROBE;
		db->has_extension = false;
	}
	LWLockRelease(smem_shared->lock);
	ConditionVariableBroadcast(&db->delivered);
	smem_wake_launcher();
}
