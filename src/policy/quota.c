#include "postgres.h"

#include "policy/quota.h"

#include "core/rate.h"
#include "pg/settings.h"
#include "pg/ticks.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define TENANT_MAX 256

/* With every place taken by a tenant that writes, idle ones are looked for this often. */
#define SWEEP_PAUSE SMEM_SEC

typedef struct Count
{
	char	 tenant[TENANT_MAX + 1]; /* the key */
	LWLock	 lock;					 /* of the rate */
	SmemRate rate;
} Count;

typedef struct Quota
{
	LWLock			*lock;	 /* of the table: exclusive to add and remove counts */
	pg_atomic_uint64 opened; /* when writes were first decided on here; 0: not yet */
	SmemTime		 swept;	 /* when idle counts were last looked for in vain */
	Count			 others;
} Quota;

static Quota *quota;
static HTAB	 *counts;

Size
smem_quota_size(void)
{
	return add_size(MAXALIGN(sizeof(Quota)),
					hash_estimate_size(smem_guc_rate_limit_tenants, sizeof(Count)));
}

static void
init_count(Count *count)
{
	LWLockInitialize(&count->lock, quota->lock->tranche);
	smem_rate_init(&count->rate);
}

void
smem_quota_start(LWLock *lock)
{
	HASHCTL info = {.keysize = TENANT_MAX + 1, .entrysize = sizeof(Count)};
	bool	found;

	quota = ShmemInitStruct("somamem quota", sizeof(Quota), &found);
	counts =
		ShmemInitHash("somamem counts", smem_guc_rate_limit_tenants, smem_guc_rate_limit_tenants,
					  &info, HASH_ELEM | HASH_STRINGS | HASH_FIXED_SIZE);
	if (found)
		return;
	quota->lock = lock;
	pg_atomic_init_u64(&quota->opened, 0);
	quota->swept = 0;
	init_count(&quota->others);
}

bool
smem_quota_is_young(void)
{
	uint64 now = (uint64) smem_ticks_us();
	uint64 opened = 0;

	/* Not since the start: a standby may have run for long before it is promoted. */
	if (pg_atomic_read_u64(&quota->opened) == 0)
		(void) pg_atomic_compare_exchange_u64(&quota->opened, &opened, now);
	opened = pg_atomic_read_u64(&quota->opened);
	return now < opened + SMEM_RATE_MINUTE;
}

/* A tenant without a write in the last minute needs no count.  Lock held exclusive. */
static void
sweep(SmemTime now)
{
	HASH_SEQ_STATUS scan;
	Count		   *count;
	int				removed = 0;

	if (quota->swept != 0 && now - quota->swept < SWEEP_PAUSE)
		return;
	hash_seq_init(&scan, counts);
	while ((count = hash_seq_search(&scan)) != NULL)
	{
		if (!smem_rate_idle(&count->rate, now))
			continue;
		hash_search(counts, count->tenant, HASH_REMOVE, NULL);
		removed++;
	}
	quota->swept = removed > 0 ? 0 : now;
}

static Count *
add_count(const char *name)
{
	Count *count;
	bool   found;

	LWLockRelease(quota->lock);
	LWLockAcquire(quota->lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(counts) >= smem_guc_rate_limit_tenants)
		sweep(smem_ticks_us());
	if (hash_get_num_entries(counts) >= smem_guc_rate_limit_tenants)
		count = hash_search(counts, name, HASH_FIND, NULL);
	else
	{
		count = hash_search(counts, name, HASH_ENTER, &found);
		/* The tenant may be one of the others until now: what they wrote is the most that it did. */
		if (!found)
		{
			init_count(count);
			count->rate = quota->others.rate;
		}
	}
	return count;
}

/*
 * The tenant's count, or the others', locked, and the time, taken under that
 * lock; the table is locked, too.
 */
static Count *
lock_count(SmemStr tenant, bool make, SmemTime *now)
{
	char   name[TENANT_MAX + 1];
	Size   len = Min(tenant.len, TENANT_MAX);
	Count *count;

	memcpy(name, tenant.data, len);
	name[len] = '\0';
	LWLockAcquire(quota->lock, LW_SHARED);
	count = hash_search(counts, name, HASH_FIND, NULL);
	if (count == NULL && make)
		count = add_count(name);
	if (count == NULL)
		count = &quota->others;
	LWLockAcquire(&count->lock, LW_EXCLUSIVE);
	*now = smem_ticks_us();
	return count;
}

static void
unlock_count(Count *count)
{
	LWLockRelease(&count->lock);
	LWLockRelease(quota->lock);
}

uint32_t
smem_quota_take(SmemStr tenant, uint32_t n, uint32_t limit, SmemPlaces *places)
{
	SmemTime now;
	Count	*count = lock_count(tenant, true, &now);
	uint32_t before = smem_rate_count(&count->rate, now);

	places->tenant = tenant;
	places->n = (uint64_t) before + n <= limit ? n : 0;
	places->at = now;
	smem_rate_add(&count->rate, now, now, places->n);
	unlock_count(count);
	return before;
}

void
smem_quota_give_back(SmemPlaces *places)
{
	SmemTime now;
	Count	*count;

	if (places->n == 0)
		return;
	count = lock_count(places->tenant, false, &now);
	smem_rate_take_back(&count->rate, places->at, now, places->n);
	unlock_count(count);
	places->n = 0;
}

uint32_t
smem_quota_figure(SmemStr tenant)
{
	SmemTime now;
	Count	*count = lock_count(tenant, false, &now);
	uint32_t figure = smem_rate_count(&count->rate, now);

	unlock_count(count);
	return figure;
}

SmemTime
smem_quota_wait(SmemStr tenant, uint32_t n, uint32_t limit)
{
	SmemTime now;
	Count	*count = lock_count(tenant, false, &now);
	SmemTime next = smem_rate_next(&count->rate, now, n, limit);

	unlock_count(count);
	return next == SMEM_TIME_NEVER ? next : Max(0, next - now);
}

void
smem_quota_remember(SmemStr tenant, uint32_t n, SmemTime age)
{
	SmemTime now;
	Count	*count = lock_count(tenant, true, &now);

	smem_rate_add(&count->rate, now - Max(0, age), now, n);
	unlock_count(count);
}
