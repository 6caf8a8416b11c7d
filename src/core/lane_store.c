#include "core/lane_store.h"

#include <string.h>

/* Copies a string to the end of an allocation, and moves the end on. */
static SmemStr
copy_string(char **end, SmemStr s)
{
	SmemStr copy = s;

	if (s.data == NULL)
		return s;
	memcpy(*end, s.data, s.len);
	copy.data = *end;
	*end += s.len;
	return copy;
}

void *
smem_lane_named(size_t size, SmemStr name, SmemStr *text)
{
	char *object = smem_alloc(size + name.len);
	char *end = object + size;

	if (object != NULL)
		*text = copy_string(&end, name);
	return object;
}

SmemItem *
smem_lane_item(const SmemRow *row)
{
	const SmemRow *r = row;
	size_t		   bytes = r->tenant.len + r->session.len + r->namespace.len + r->persona.len +
				   r->role.len + r->key.len + r->traceparent.len + r->universe.len + r->extras.len +
				   r->payload.len;
	SmemItem *item = smem_alloc_raw(sizeof(*item) + bytes);
	char	 *end = (char *) (item + 1);

	if (item == NULL)
		return NULL;
	item->next = NULL;
	item->lane = NULL;
	item->sent = false;
	item->bytes = bytes;
	item->row = *row;
	item->row.tenant = copy_string(&end, r->tenant);
	item->row.session = copy_string(&end, r->session);
	item->row.namespace = copy_string(&end, r->namespace);
	item->row.persona = copy_string(&end, r->persona);
	item->row.role = copy_string(&end, r->role);
	item->row.key = copy_string(&end, r->key);
	item->row.traceparent = copy_string(&end, r->traceparent);
	item->row.universe = copy_string(&end, r->universe);
	item->row.extras = copy_string(&end, r->extras);
	item->row.payload = copy_string(&end, r->payload);
	return item;
}

static void
forget_tenant(SmemLanes *lanes, SmemTenant *tenant)
{
	smem_table_remove(&lanes->tenant_table, &tenant->entry);
	smem_unlink(&tenant->all);
	smem_unlink(&tenant->ready);
	smem_release(tenant);
}

/* Forgets tenants without a lane whose hold is over, once there are twice as many as last time. */
static void
sweep_tenants(SmemLanes *lanes, SmemTime now)
{
	SmemNode *link = smem_list_first(&lanes->tenants);

	if (lanes->tenant_table.n < lanes->sweep_at)
		return;
	while (link != NULL)
	{
		SmemTenant *tenant = SMEM_HOLDER(link, SmemTenant, all);

		link = smem_list_after(&lanes->tenants, link);
		if (smem_list_empty(&tenant->lanes) && tenant->hold_until <= now)
			forget_tenant(lanes, tenant);
	}
	lanes->sweep_at = lanes->tenant_table.n * 2 + 256;
}

static SmemTenant *
get_tenant(SmemLanes *lanes, SmemStr name, SmemTime now)
{
	uint64_t	hash = smem_hash(0, name);
	SmemEntry  *entry = smem_table_find(&lanes->tenant_table, hash);
	SmemTenant *tenant;
	SmemStr		text;

	for (; entry != NULL; entry = smem_table_more(entry))
	{
		tenant = SMEM_HOLDER(entry, SmemTenant, entry);
		if (smem_str_equal(tenant->name, name))
			return tenant;
	}
	sweep_tenants(lanes, now);
	tenant = smem_lane_named(sizeof(*tenant), name, &text);
	if (tenant == NULL)
		return NULL;
	if (!smem_table_add(&lanes->tenant_table, &tenant->entry, hash))
	{
		smem_release(tenant);
		return NULL;
	}
	tenant->name = text;
	smem_list_init(&tenant->groups);
	smem_list_init(&tenant->lanes);
	smem_list_append(&lanes->tenants, &tenant->all);
	return tenant;
}

SmemLane *
smem_lane_get(SmemLanes *lanes, const SmemRow *row, SmemTime now)
{
	uint64_t	hash = smem_hash(smem_hash(1, row->tenant), row->session);
	SmemEntry  *entry = smem_table_find(&lanes->lane_table, hash);
	SmemLane   *lane;
	SmemTenant *tenant;
	SmemStr		text;

	for (; entry != NULL; entry = smem_table_more(entry))
	{
		lane = SMEM_HOLDER(entry, SmemLane, entry);
		if (smem_str_equal(lane->session, row->session) &&
			smem_str_equal(lane->tenant->name, row->tenant))
			return lane;
	}
	tenant = get_tenant(lanes, row->tenant, now);
	if (tenant == NULL)
		return NULL;
	lane = smem_lane_named(sizeof(*lane), row->session, &text);
	if (lane == NULL)
		return NULL;
	if (!smem_table_add(&lanes->lane_table, &lane->entry, hash))
	{
		smem_release(lane);
		return NULL;
	}
	lane->session = text;
	lane->tenant = tenant;
	smem_list_append(&tenant->lanes, &lane->of_tenant);
	return lane;
}

void
smem_lane_forget(SmemLanes *lanes, SmemLane *lane)
{
	SmemTenant *tenant = lane->tenant;

	smem_table_remove(&lanes->lane_table, &lane->entry);
	smem_unlink(&lane->of_tenant);
	smem_unlink(&lane->closed);
	smem_release(lane);
	if (smem_list_empty(&tenant->lanes) && tenant->hold_until == 0 && tenant->throttles == 0)
		forget_tenant(lanes, tenant);
}
