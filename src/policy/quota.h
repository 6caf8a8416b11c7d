/*
 * The writes of the last minute, by tenant, over all sessions and databases of
 * the server.
 *
 * A write takes its place before it is decided on, and gives it back where it
 * is refused: so of many at once exactly as many pass as the limit allows.
 * Tenants beyond somamem.rate_limit_tenants share one count: none of them can
 * pass its own limit so, but they may meet it early.
 */
#ifndef SMEM_POLICY_QUOTA_H
#define SMEM_POLICY_QUOTA_H

#include "core/frame.h"
#include "core/time.h"
#include "storage/lwlock.h"

/* Places that were taken. */
typedef struct SmemPlaces
{
	SmemStr	 tenant; /* the caller's */
	uint32_t n;		 /* 0: none */
	SmemTime at;
} SmemPlaces;

/*
 * Takes n places if they fit under the limit; returns how many writes there
 * were in the minute before.
 */
extern uint32_t smem_quota_take(SmemStr tenant, uint32_t n, uint32_t limit, SmemPlaces *places);
extern void		smem_quota_give_back(SmemPlaces *places);

/* Writes of the last minute. */
extern uint32_t smem_quota_figure(SmemStr tenant);

/* How long until n more fit under the limit, if nothing else comes; NEVER where n > limit. */
extern SmemTime smem_quota_wait(SmemStr tenant, uint32_t n, uint32_t limit);

/* Counts writes of an earlier life of the server, by their age. */
extern void smem_quota_remember(SmemStr tenant, uint32_t n, SmemTime age);

/*
 * Whether writes of an earlier life may still count: those of this server
 * before a restart, or of the one whose standby this was.  Not on a standby.
 */
extern bool smem_quota_is_young(void);

/* shared.c */
extern Size smem_quota_size(void);
extern void smem_quota_start(LWLock *lock);

#endif
