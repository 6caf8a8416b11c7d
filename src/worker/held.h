/*
 * What a sink is owed, tenant by tenant, as its shipper gathers it: from the
 * tables when it starts, later from what it holds.
 */
#ifndef SMEM_WORKER_HELD_H
#define SMEM_WORKER_HELD_H

#include "worker/shipper.h"

typedef struct SmemHeld
{
	char		name[260]; /* hash key */
	int64		rows;
	TimestampTz oldest; /* 0: none of them waits for the sink, or since when is not known */
} SmemHeld;

extern HTAB *smem_held_make(MemoryContext context);
extern void	 smem_held_add(HTAB *held, const char *tenant, int64 rows, TimestampTz oldest);

/*
 * In a transaction: adds what is not settled behind the position, what detours
 * have left behind it, and what is parked; exact where that is cheap.  Each
 * returns how many rows that are.
 */
extern int64 smem_held_outbox(HTAB *held, const SmemPosition *position);
extern int64 smem_held_detours(SmemShipper *sh, HTAB *held, const SmemPosition *position);
extern int64 smem_held_parked(SmemShipper *sh, HTAB *held);

/* In a transaction: when the first row behind the position was written; 0: there is none. */
extern TimestampTz smem_held_oldest(const SmemPosition *position);

#endif
