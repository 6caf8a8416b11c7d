/*
 * Detours: tenants whose rows the main position passes by, because so many of
 * them wait that everybody else would wait behind them.
 *
 * A detour has a position of its own.  Every row of its tenant that is ahead
 * of it is the detour's: up to the moment `until`, where the tenant has
 * returned to the main position, or without end.  It is recorded in the
 * transactions that record the main position, and from the one on in which
 * that first passes a row of the detour by.
 */
#ifndef SMEM_OUTBOX_DETOUR_H
#define SMEM_OUTBOX_DETOUR_H

#include "outbox/position.h"

typedef struct SmemDetour
{
	int64_t		 number; /* of the sink's, never used again by the process */
	const char	*tenant;
	SmemPosition position;
	bool		 closed; /* it ends */
	SmemMoment	 until;	 /* where closed */
} SmemDetour;

/*
 * Reads the sink's detours, allocated in the current context, oldest first.
 * Those of another server are forgotten: the log is asked instead.  In a transaction.
 */
extern int smem_detours_load(SmemSink sink, SmemDetour **detours);

extern void smem_detour_record(SmemSink sink, const SmemDetour *detour);
extern void smem_detour_forget(SmemSink sink, int64_t number);

#endif
