#include "core/lanes.h"

#include <assert.h>

#include "core/lane_store.h"

/*
 * How many closed lanes are remembered.  More are forgotten, oldest first: by
 * then the worker has long read the outcome that closed them, and sends no
 * row of those sessions any more unless it is meant to go.
 */
#define SMEM_LANES_CLOSED_MAX 65536

SmemLanes *
smem_lanes_new(SmemLanesDrop drop, void *arg)
{
	SmemLanes *lanes = smem_alloc(sizeof(*lanes));

	if (lanes == NULL)
		return NULL;
	lanes->drop = drop;
	lanes->drop_arg = arg;
	lanes->sweep_at = 256;
	smem_list_init(&lanes->ready);
	smem_list_init(&lanes->tenants);
	smem_list_init(&lanes->closed);
	return lanes;
}

static SmemGroup *
get_group(SmemLanes *lanes, SmemTenant *tenant, SmemStr name)
{
	SmemNode  *link = smem_list_first(&tenant->groups);
	SmemGroup *group;
	SmemStr	   text;

	for (; link != NULL; link = smem_list_after(&tenant->groups, link))
	{
		group = SMEM_HOLDER(link, SmemGroup, link);
		if (smem_str_equal(group->name, name))
			return group;
	}
	group = smem_lane_named(sizeof(*group), name, &text);
	if (group == NULL)
		return NULL;
	group->name = text;
	smem_list_init(&group->ready);
	smem_list_append(&tenant->groups, &group->link);
	if (!smem_linked(&tenant->ready))
		smem_list_append(&lanes->ready, &tenant->ready);
	return group;
}

/* Takes a lane out of its group; a group and a tenant without a ready lane leave their lists. */
static void
unready(SmemLane *lane)
{
	SmemGroup *group = lane->group;

	if (group == NULL)
		return;
	smem_unlink(&lane->ready);
	lane->group = NULL;
	if (!smem_list_empty(&group->ready))
		return;
	smem_unlink(&group->link);
	smem_release(group);
	if (smem_list_empty(&lane->tenant->groups))
		smem_unlink(&lane->tenant->ready);
}

/* The row is no longer the lanes'. */
static void
free_item(SmemLanes *lanes, SmemItem *item)
{
	lanes->rows--;
	lanes->bytes -= item->bytes;
	item->lane->tenant->rows--;
	smem_release(item);
}

static void
drop_item(SmemLanes *lanes, SmemItem *item, SmemOutcomeKind kind, uint32_t delay_ms)
{
	lanes->drop(lanes->drop_arg, item, kind, delay_ms);
	free_item(lanes, item);
}

static void
to_closed(SmemLanes *lanes, SmemLane *lane)
{
	SmemLane *oldest;

	if (smem_linked(&lane->closed))
		return;
	smem_list_append(&lanes->closed, &lane->closed);
	if (++lanes->closed_count <= SMEM_LANES_CLOSED_MAX)
		return;
	oldest = SMEM_HOLDER(smem_list_first(&lanes->closed), SmemLane, closed);
	smem_unlink(&oldest->closed);
	lanes->closed_count--;
	if (oldest->taken == 0)
		smem_lane_forget(lanes, oldest);
}

static void
to_open(SmemLanes *lanes, SmemLane *lane)
{
	assert(smem_linked(&lane->closed));
	smem_unlink(&lane->closed);
	lanes->closed_count--;
}

/* Drops all rows that wait in a lane, the first one as `first`, the others BEHIND. */
static void
empty_lane(SmemLanes *lanes, SmemLane *lane, SmemOutcomeKind first, uint32_t delay_ms)
{
	SmemOutcomeKind kind = first;

	unready(lane);
	while (lane->head != NULL)
	{
		SmemItem *item = lane->head;

		lane->head = item->next;
		drop_item(lanes, item, kind, kind == SMEM_OUTCOME_HELD ? delay_ms : 0);
		kind = SMEM_OUTCOME_BEHIND;
	}
	lane->tail = NULL;
	to_closed(lanes, lane);
}

static bool
is_handed_back(const SmemLanes *lanes, const SmemTenant *tenant, SmemTime now)
{
	if (lanes->patient || tenant->hold_until <= now)
		return false;
	return tenant->hold_until - now > SMEM_LANES_PATIENCE ||
		   now - tenant->throttled_since >= SMEM_LANES_PATIENCE;
}

/*
 * Offers a lane to take, or hands its rows back where its tenant is held for
 * long.  False when out of memory.
 */
static bool
make_ready(SmemLanes *lanes, SmemLane *lane, SmemTime now)
{
	SmemGroup *group;

	if (lane->taken > 0 || lane->head == NULL || lane->group != NULL)
		return true;
	if (is_handed_back(lanes, lane->tenant, now))
	{
		empty_lane(lanes, lane, SMEM_OUTCOME_HELD,
				   (uint32_t) ((lane->tenant->hold_until - now) / SMEM_MSEC));
		return true;
	}
	group = get_group(lanes, lane->tenant, lane->head->row.namespace);
	if (group == NULL)
		return false;
	lane->group = group;
	smem_list_append(&group->ready, &lane->ready);
	return true;
}

/* One taken row of the lane is no longer out. */
static void
release_lane(SmemLanes *lanes, SmemLane *lane, SmemTime now)
{
	assert(lane->taken > 0);
	if (--lane->taken > 0)
		return;
	/* Without memory for a group the rows go back to the worker, which sends them again. */
	if (!make_ready(lanes, lane, now))
		empty_lane(lanes, lane, SMEM_OUTCOME_HELD, 1000);
	if (lane->head == NULL && !smem_linked(&lane->closed))
		smem_lane_forget(lanes, lane);
}

bool
smem_lanes_push(SmemLanes *lanes, const SmemRow *row, SmemTime now)
{
	SmemLane *lane = smem_lane_get(lanes, row, now);
	SmemItem *item = lane == NULL ? NULL : smem_lane_item(row);

	if (item == NULL)
		return false;
	item->lane = lane;
	lanes->rows++;
	lanes->bytes += item->bytes;
	lane->tenant->rows++;
	if ((row->flags & SMEM_ROW_REOPEN) != 0 && smem_linked(&lane->closed))
		to_open(lanes, lane);
	if (smem_linked(&lane->closed))
	{
		drop_item(lanes, item, SMEM_OUTCOME_BEHIND, 0);
		return true;
	}
	if (lane->head == NULL)
		lane->head = item;
	else
		lane->tail->next = item;
	lane->tail = item;
	return make_ready(lanes, lane, now);
}

/* Takes what the batch has room for from the head of a ready lane; returns how many rows. */
static uint32_t
take_from(SmemLane *lane, const SmemTake *take, SmemItem **items, uint32_t n, size_t *bytes,
		  bool *full)
{
	SmemStr namespace = lane->group->name;
	uint32_t first = n;

	while (lane->head != NULL && !*full)
	{
		SmemItem *item = lane->head;
		bool	  alone = item->row.attempts > 0;

		if (n > 0 && (alone || *bytes + item->bytes > take->bytes))
			*full = true;
		else if (!smem_str_equal(item->row.namespace, namespace))
			break;
		else
		{
			lane->head = item->next;
			item->next = NULL;
			items[n++] = item;
			*bytes += item->bytes;
			*full = alone || n >= take->items || *bytes >= take->bytes;
		}
	}
	if (lane->head == NULL)
		lane->tail = NULL;
	lane->taken = n - first;
	return n - first;
}

static uint32_t
take_group(SmemTenant *tenant, SmemGroup *group, const SmemTake *take, SmemItem **items)
{
	uint32_t n = 0;
	size_t	 bytes = 0;
	bool	 full = false;
	bool	 last = false;

	while (!full && !last)
	{
		SmemLane *lane = SMEM_HOLDER(smem_list_first(&group->ready), SmemLane, ready);
		uint32_t  got = take_from(lane, take, items, n, &bytes, &full);

		n += got;
		last = lane->ready.next == lane->ready.prev;
		if (got > 0)
			unready(lane);
	}
	if (!last)
	{
		smem_unlink(&group->link);
		smem_list_append(&tenant->groups, &group->link);
	}
	return n;
}

static SmemTenant *
next_tenant(const SmemLanes *lanes, SmemTime now)
{
	SmemNode *link = smem_list_first(&lanes->ready);

	for (; link != NULL; link = smem_list_after(&lanes->ready, link))
	{
		SmemTenant *tenant = SMEM_HOLDER(link, SmemTenant, ready);

		if (tenant->hold_until <= now)
			return tenant;
	}
	return NULL;
}

uint32_t
smem_lanes_take(SmemLanes *lanes, const SmemTake *take, SmemTime now, SmemItem **items)
{
	SmemTenant *tenant = next_tenant(lanes, now);
	SmemGroup  *group;
	uint32_t	n;

	if (tenant == NULL)
		return 0;
	group = SMEM_HOLDER(smem_list_first(&tenant->groups), SmemGroup, link);
	n = take_group(tenant, group, take, items);
	if (smem_linked(&tenant->ready))
	{
		smem_unlink(&tenant->ready);
		smem_list_append(&lanes->ready, &tenant->ready);
	}
	return n;
}

void
smem_lanes_settle(SmemLanes *lanes, SmemItem *item, SmemTime now)
{
	SmemLane *lane = item->lane;

	free_item(lanes, item);
	release_lane(lanes, lane, now);
}

void
smem_lanes_put_back(SmemLanes *lanes, SmemItem **items, uint32_t n, SmemTime now)
{
	while (n-- > 0)
	{
		SmemItem *item = items[n];
		SmemLane *lane = item->lane;

		if (smem_linked(&lane->closed))
			drop_item(lanes, item, SMEM_OUTCOME_BEHIND, 0);
		else
		{
			item->next = lane->head;
			lane->head = item;
			if (item->next == NULL)
				lane->tail = item;
		}
		release_lane(lanes, lane, now);
	}
}

void
smem_lanes_close(SmemLanes *lanes, SmemItem *item, SmemTime now)
{
	SmemLane *lane = item->lane;

	free_item(lanes, item);
	empty_lane(lanes, lane, SMEM_OUTCOME_BEHIND, 0);
	release_lane(lanes, lane, now);
}

uint32_t
smem_lanes_throttled(SmemLanes *lanes, const SmemItem *item, SmemTime now)
{
	SmemTenant *tenant = item->lane->tenant;

	(void) lanes;
	if (tenant->throttled_at == 0 || now - tenant->throttled_at > SMEM_LANES_CALM)
		tenant->throttled_since = now;
	tenant->throttled_at = now;
	return ++tenant->throttles;
}

void
smem_lanes_hold(SmemLanes *lanes, const SmemItem *item, SmemTime until, SmemTime now)
{
	SmemTenant *tenant = item->lane->tenant;
	SmemNode   *link;

	tenant->hold_until = smem_time_max(tenant->hold_until, until);
	if (!is_handed_back(lanes, tenant, now))
		return;
	/* A busy lane follows when its rows come back: what is out has to be known first. */
	for (link = smem_list_first(&tenant->lanes); link != NULL;
		 link = smem_list_after(&tenant->lanes, link))
	{
		SmemLane *lane = SMEM_HOLDER(link, SmemLane, of_tenant);

		if (lane->group != NULL)
			empty_lane(lanes, lane, SMEM_OUTCOME_HELD,
					   (uint32_t) ((tenant->hold_until - now) / SMEM_MSEC));
	}
}

void
smem_lanes_passed(SmemLanes *lanes, const SmemItem *item)
{
	(void) lanes;
	item->lane->tenant->throttles = 0;
	item->lane->tenant->hold_until = 0;
}

bool
smem_lanes_all_throttled(const SmemLanes *lanes)
{
	uint32_t  throttled = 0;
	SmemNode *link = smem_list_first(&lanes->tenants);

	for (; link != NULL; link = smem_list_after(&lanes->tenants, link))
	{
		SmemTenant *tenant = SMEM_HOLDER(link, SmemTenant, all);

		if (tenant->throttles > 0)
			throttled++;
		else if (tenant->rows > 0)
			return false;
	}
	return throttled >= 2;
}

void
smem_lanes_set_patient(SmemLanes *lanes, bool patient)
{
	lanes->patient = patient;
}

void
smem_lanes_wake(SmemLanes *lanes)
{
	SmemNode *link = smem_list_first(&lanes->tenants);

	for (; link != NULL; link = smem_list_after(&lanes->tenants, link))
		SMEM_HOLDER(link, SmemTenant, all)->hold_until = 0;
}

SmemTime
smem_lanes_next(const SmemLanes *lanes, SmemTime now)
{
	SmemTime  at = SMEM_TIME_NEVER;
	SmemNode *link = smem_list_first(&lanes->ready);

	for (; link != NULL && at > now; link = smem_list_after(&lanes->ready, link))
		at = smem_time_min(at, SMEM_HOLDER(link, SmemTenant, ready)->hold_until);
	return smem_time_max(at, now);
}

uint32_t
smem_lanes_count(const SmemLanes *lanes)
{
	return lanes->rows;
}

size_t
smem_lanes_bytes(const SmemLanes *lanes)
{
	return lanes->bytes;
}

static void
free_items(SmemLanes *lanes, SmemLane *lane)
{
	while (lane->head != NULL)
	{
		SmemItem *item = lane->head;

		lane->head = item->next;
		free_item(lanes, item);
	}
}

void
smem_lanes_free(SmemLanes *lanes)
{
	SmemNode *link;

	if (lanes == NULL)
		return;
	while ((link = smem_list_first(&lanes->tenants)) != NULL)
	{
		SmemTenant *tenant = SMEM_HOLDER(link, SmemTenant, all);
		SmemNode   *of_tenant;

		/* Without a throttle the tenant would go with its last lane. */
		tenant->throttles = 1;
		while ((of_tenant = smem_list_first(&tenant->lanes)) != NULL)
		{
			SmemLane *lane = SMEM_HOLDER(of_tenant, SmemLane, of_tenant);

			free_items(lanes, lane);
			unready(lane);
			smem_lane_forget(lanes, lane);
		}
		smem_table_remove(&lanes->tenant_table, &tenant->entry);
		smem_unlink(&tenant->all);
		smem_release(tenant);
	}
	smem_table_free(&lanes->lane_table);
	smem_table_free(&lanes->tenant_table);
	smem_release(lanes);
}
