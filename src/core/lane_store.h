/*
 * What lanes.c keeps: tenants, their groups and lanes, and the rows.  Nothing
 * but lanes.c includes this.
 */
#ifndef SMEM_CORE_LANE_STORE_H
#define SMEM_CORE_LANE_STORE_H

#include "core/lanes.h"
#include "core/list.h"
#include "core/table.h"

typedef struct SmemTenant
{
	SmemEntry entry;
	SmemNode  ready; /* in the lanes' list, while it has ready groups */
	SmemNode  all;
	SmemList  groups; /* with ready lanes, the next one first */
	SmemList  lanes;  /* all of them */
	uint32_t  rows;
	uint32_t  throttles; /* in a row */
	SmemTime  hold_until;
	SmemTime  throttled_at;	   /* the last time, or 0 */
	SmemTime  throttled_since; /* the first time, with no calm in between */
	SmemStr	  name;
} SmemTenant;

/* The ready lanes of one tenant whose first row is of one namespace. */
typedef struct SmemGroup
{
	SmemNode link;
	SmemList ready;
	SmemStr	 name;
} SmemGroup;

struct SmemLane
{
	SmemEntry	entry;
	SmemTenant *tenant;
	SmemGroup  *group; /* while it is ready */
	SmemNode	ready;
	SmemNode	of_tenant;
	SmemNode	closed; /* while it is closed */
	SmemItem   *head;
	SmemItem   *tail;
	uint32_t	taken; /* rows that are out; no other is taken meanwhile */
	SmemStr		session;
};

struct SmemLanes
{
	SmemLanesDrop drop;
	void		 *drop_arg;
	SmemTable	  lane_table;
	SmemTable	  tenant_table;
	SmemList	  ready;   /* tenants, the next one first */
	SmemList	  tenants; /* all of them */
	SmemList	  closed;  /* lanes, oldest first */
	uint32_t	  closed_count;
	uint32_t	  rows;
	size_t		  bytes;
	size_t		  sweep_at; /* number of tenants at which idle ones are looked for */
	bool		  patient;
};

/* A copy of the row, with its strings behind it; NULL when out of memory. */
extern SmemItem *smem_lane_item(const SmemRow *row);

/* An object of size bytes, zeroed, with a string behind it that *text is set to. */
extern void *smem_lane_named(size_t size, SmemStr name, SmemStr *text);

/* The row's lane, made where there is none; NULL when out of memory. */
extern SmemLane *smem_lane_get(SmemLanes *lanes, const SmemRow *row, SmemTime now);

/* Frees a lane without rows, and its tenant where that has no other and is not throttled. */
extern void smem_lane_forget(SmemLanes *lanes, SmemLane *lane);

#endif
