/*
 * The rows that wait, in lanes: one lane for each session of a tenant, first
 * in, first out.
 *
 * A batch takes rows of one tenant and one namespace from the heads of lanes
 * that are ready.  A lane whose rows are taken is busy until each of them came
 * back by settle, put_back or close: so nothing overtakes.  Tenants take
 * turns, and within a tenant its namespaces, and within those the lanes.
 *
 * A lane that was closed lets nothing through until a row with REOPEN comes:
 * its rows leave at once by the drop callback, the first one HELD where a
 * tenant's hold closed the lane, all others BEHIND.
 *
 * Rows are owned by the lanes from push to settle, close or drop.
 */
#ifndef SMEM_CORE_LANES_H
#define SMEM_CORE_LANES_H

#include "core/frame.h"
#include "core/time.h"

/*
 * A tenant that is held longer than this, or throttled again and again for
 * longer, has its rows handed back instead of kept: what is kept here stands
 * in the worker's window, which all tenants share.
 */
#define SMEM_LANES_PATIENCE SMEM_SEC

/* A tenant that was not throttled for this long has got over it. */
#define SMEM_LANES_CALM (10 * SMEM_SEC)

typedef struct SmemLanes SmemLanes;
typedef struct SmemLane	 SmemLane;

typedef struct SmemItem
{
	struct SmemItem *next; /* in its lane */
	bool			 sent; /* the caller's: it was in a request before */
	SmemLane		*lane;
	size_t			 bytes; /* of all its strings */
	SmemRow			 row;	/* strings lie behind the item */
} SmemItem;

/* What a batch may take. */
typedef struct SmemTake
{
	uint32_t items;
	size_t	 bytes; /* a first row goes whatever its size */
} SmemTake;

/* Is told of a row that leaves without having been taken; the row is freed afterwards. */
typedef void (*SmemLanesDrop)(void *arg, const SmemItem *item, SmemOutcomeKind kind,
							  uint32_t delay_ms);

extern SmemLanes *smem_lanes_new(SmemLanesDrop drop, void *arg);
extern void		  smem_lanes_free(SmemLanes *lanes);

/* Copies a row to the end of its lane, or drops it; false when out of memory. */
extern bool smem_lanes_push(SmemLanes *lanes, const SmemRow *row, SmemTime now);

/*
 * Fills items with the rows of the next batch, in the order in which they
 * must go, and returns how many: 0 when no lane is ready.  A row with earlier
 * attempts goes alone, so that it harms no other again.
 */
extern uint32_t smem_lanes_take(SmemLanes *lanes, const SmemTake *take, SmemTime now,
								SmemItem **items);

/* The row is done with, and freed; its session goes on. */
extern void smem_lanes_settle(SmemLanes *lanes, SmemItem *item, SmemTime now);

/* Rows, in the order in which they were taken, go back to the heads of their lanes. */
extern void smem_lanes_put_back(SmemLanes *lanes, SmemItem **items, uint32_t n, SmemTime now);

/* The row failed, and is freed; its session is closed behind it. */
extern void smem_lanes_close(SmemLanes *lanes, SmemItem *item, SmemTime now);

/* The tenant of a taken row was throttled; returns how often in a row that happened. */
extern uint32_t smem_lanes_throttled(SmemLanes *lanes, const SmemItem *item, SmemTime now);

/* Nothing of the tenant of a taken row goes before. */
extern void smem_lanes_hold(SmemLanes *lanes, const SmemItem *item, SmemTime until, SmemTime now);

/* The tenant of a taken row is no longer throttled. */
extern void smem_lanes_passed(SmemLanes *lanes, const SmemItem *item);

/* Whether at least two tenants are throttled, and every tenant that has rows is. */
extern bool smem_lanes_all_throttled(const SmemLanes *lanes);

/* While patient, held rows are kept however long the hold: the trouble is the sink's. */
extern void smem_lanes_set_patient(SmemLanes *lanes, bool patient);

/* Ends every hold. */
extern void smem_lanes_wake(SmemLanes *lanes);

/* When take may find rows: now, or the end of a hold, or NEVER. */
extern SmemTime smem_lanes_next(const SmemLanes *lanes, SmemTime now);

/* Rows held, taken ones included, and their bytes. */
extern uint32_t smem_lanes_count(const SmemLanes *lanes);
extern size_t	smem_lanes_bytes(const SmemLanes *lanes);

#endif
