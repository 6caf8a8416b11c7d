#include "postgres.h"

#include "policy/shared.h"

#include "miscadmin.h"
#include "policy/count.h"
#include "policy/quota.h"
#include "policy/refusals.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define TRANCHE "somamem policy"

/* Locks of the tranche, by place. */
enum
{
	LOCK_QUOTA,
	LOCK_REFUSALS,
	LOCKS
};

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
request_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(smem_quota_size());
	RequestAddinShmemSpace(smem_count_size());
	RequestAddinShmemSpace(smem_refusals_size());
	RequestNamedLWLockTranche(TRANCHE, LOCKS);
}

static void
start_memory(void)
{
	LWLockPadded *locks;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(TRANCHE);
	smem_quota_start(&locks[LOCK_QUOTA].lock);
	smem_count_start();
	smem_refusals_start(&locks[LOCK_REFUSALS].lock);
	LWLockRelease(AddinShmemInitLock);
}

void
smem_policy_install(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}
