#include "postgres.h"

#include "worker/window.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH_SHIFT_US                                                                        \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

void
smem_window_init(SmemWindow *window, MemoryContext context)
{
	HASHCTL ctl = {.keysize = sizeof(int64_t), .entrysize = sizeof(SmemEntry), .hcxt = context};
	HASHCTL names = {.keysize = sizeof(((SmemTenantRows *) NULL)->name),
					 .entrysize = sizeof(SmemTenantRows),
					 .hcxt = context};

	memset(window, 0, sizeof(*window));
	window->context = context;
	window->by_id = hash_create("somamem window", SMEM_WINDOW_ROWS, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	window->by_tenant = hash_create("somamem window by tenant", 64, &names,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < SMEM_LISTS; i++)
		dlist_init(&window->list[i]);
}

SmemEntry *
smem_window_find(SmemWindow *window, int64_t id)
{
	return hash_search(window->by_id, &id, HASH_FIND, NULL);
}

static SmemTenantRows *
get_tenant(SmemWindow *window, const char *name)
{
	bool			found;
	SmemTenantRows *tenant = hash_search(window->by_tenant, name, HASH_ENTER, &found);

	if (!found)
		tenant->rows = tenant->entries = 0;
	return tenant;
}

SmemEntry *
smem_window_add(SmemWindow *window, int64_t id, int list, const char *tenant, const char *session,
				int bytes)
{
	bool	   found;
	SmemEntry *entry = hash_search(window->by_id, &id, HASH_ENTER, &found);

	if (found)
		return NULL;
	memset(entry, 0, sizeof(*entry));
	entry->id = id;
	entry->list = (uint8_t) list;
	entry->retry = list == SMEM_LIST_RETRIES;
	entry->bytes = bytes;
	entry->of_tenant = get_tenant(window, tenant);
	entry->of_tenant->rows += !entry->retry;
	entry->of_tenant->entries++;
	entry->session = MemoryContextStrdup(window->context, session);
	dlist_push_tail(&window->list[list], &entry->node);
	window->rows++;
	window->rows_of[list]++;
	window->bytes += bytes;
	return entry;
}

int
smem_window_tenant_rows(SmemWindow *window, const char *name)
{
	SmemTenantRows *tenant = hash_search(window->by_tenant, name, HASH_FIND, NULL);

	return tenant == NULL ? 0 : tenant->rows;
}

const char *
smem_window_greatest(SmemWindow *window, bool (*passes)(const char *, void *), void *arg, int *rows)
{
	HASH_SEQ_STATUS scan;
	SmemTenantRows *tenant;
	const char	   *greatest = NULL;

	*rows = 0;
	hash_seq_init(&scan, window->by_tenant);
	while ((tenant = hash_seq_search(&scan)) != NULL)
	{
		if (tenant->rows <= *rows || passes(tenant->name, arg))
			continue;
		greatest = tenant->name;
		*rows = tenant->rows;
	}
	return greatest;
}

/*
 * A courier's text goes into tables, so it must be text of the database.
 * Sinks speak UTF-8: in a database that does not, and where a courier sends
 * what nobody speaks, what is no ASCII is masked, which leaves JSON whole.
 */
static char *
copy_str(SmemWindow *window, SmemStr s)
{
	char *copy;

	if (!smem_str_present(s))
		return NULL;
	copy = MemoryContextAlloc(window->context, s.len + 1);
	memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	if (GetDatabaseEncoding() == PG_UTF8 && pg_verify_mbstr(PG_UTF8, copy, (int) s.len, true))
		return copy;
	for (size_t i = 0; i < s.len; i++)
	{
		if (IS_HIGHBIT_SET(copy[i]) || copy[i] == '\0')
			copy[i] = '?';
	}
	return copy;
}

static bool
is_closing(const SmemEntry *entry)
{
	return entry->kind == SMEM_OUTCOME_FAILED || entry->kind == SMEM_OUTCOME_HELD ||
		   entry->kind == SMEM_OUTCOME_BEHIND;
}

void
smem_window_settle(SmemWindow *window, SmemEntry *entry, const SmemOutcome *out)
{
	if (entry->kind != 0)
		return;
	entry->kind = out->kind;
	entry->at = out->at_us - UNIX_EPOCH_SHIFT_US;
	entry->delay_ms = out->delay_ms;
	entry->receipt = copy_str(window, out->receipt);
	entry->class = copy_str(window, out->class);
	entry->reason = copy_str(window, out->reason);
	if (entry->kind == SMEM_OUTCOME_DELIVERED)
		window->delivered_of[entry->list]++;
	if (entry->retry)
		window->settled_retries++;
	else if (is_closing(entry))
		window->closing++;
}

void
smem_window_logged(SmemWindow *window, SmemEntry *entry)
{
	window->delivered_of[entry->list]--;
	entry->kind = SMEM_OUTCOME_LOGGED;
}

void
smem_window_set_aside(SmemWindow *window, SmemEntry *entry)
{
	dlist_delete(&entry->node);
	window->rows_of[entry->list]--;
	entry->of_tenant->rows--;
	entry->list = SMEM_LIST_RETRIES;
	entry->retry = true;
	entry->stuck = true;
	dlist_push_tail(&window->list[entry->list], &entry->node);
	window->rows_of[entry->list]++;
	window->stuck++;
}

static bool
is_of(const SmemEntry *entry, const char *tenant, const char *session)
{
	return strcmp(entry->session, session) == 0 && strcmp(smem_entry_tenant(entry), tenant) == 0;
}

int
smem_window_leading(const SmemWindow *window, const char *tenant, const char *session,
					int64_t **ids)
{
	dlist_iter iter;
	int		   n = 0;

	*ids = palloc(sizeof(int64_t) * (window->stuck + 1));
	if (window->stuck == 0)
		return 0;
	dlist_foreach (iter, (dlist_head *) &window->list[SMEM_LIST_RETRIES])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->stuck && !is_closing(entry) && is_of(entry, tenant, session))
			(*ids)[n++] = entry->id;
	}
	return n;
}

static SmemEntry *
first_of(const dlist_head *list, const char *tenant, const char *session, SmemEntry *first)
{
	dlist_iter iter;

	dlist_foreach (iter, (dlist_head *) list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if ((first == NULL || entry->id < first->id) && (entry->kind == 0 || is_closing(entry)) &&
			is_of(entry, tenant, session))
			first = entry;
	}
	return first;
}

SmemEntry *
smem_window_first_of(const SmemWindow *window, const char *tenant, const char *session)
{
	SmemEntry *first = NULL;

	for (int i = 0; i < SMEM_LIST_RETRIES; i++)
	{
		if (window->rows_of[i] > 0)
			first = first_of(&window->list[i], tenant, session, first);
	}
	return first;
}

bool
smem_window_is_blocked(const SmemWindow *window, int list)
{
	return window->delivered_of[list] > 0 &&
		   dlist_container(SmemEntry, node, window->list[list].head.next)->kind == 0;
}

static void
unsend(dlist_head *list, bool blame)
{
	dlist_iter iter;

	dlist_foreach (iter, list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (!blame)
			entry->deaths = 0;
		else if (entry->sent && entry->kind == 0 && entry->deaths < UINT8_MAX)
			entry->deaths++;
		entry->sent = false;
	}
}

void
smem_window_unsend(SmemWindow *window, bool blame)
{
	for (int i = 0; i < SMEM_LISTS; i++)
		unsend(&window->list[i], blame);
}

static int
under_way(dlist_head *list, SmemEntry **entry)
{
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, list)
	{
		SmemEntry *other = dlist_container(SmemEntry, node, iter.cur);

		if (!other->sent || other->kind != 0)
			continue;
		*entry = other;
		n++;
	}
	return n;
}

int
smem_window_under_way(SmemWindow *window, SmemEntry **entry)
{
	int n = 0;

	for (int i = 0; i < SMEM_LISTS; i++)
		n += under_way(&window->list[i], entry);
	return n;
}

static bool
suspects(dlist_head *list, int deaths)
{
	dlist_iter iter;

	dlist_foreach (iter, list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind == 0 && entry->deaths >= deaths)
			return true;
	}
	return false;
}

bool
smem_window_suspects(SmemWindow *window, int deaths)
{
	bool found = false;

	for (int i = 0; i < SMEM_LISTS && !found; i++)
		found = suspects(&window->list[i], deaths);
	return found;
}

static void
free_str(char *s)
{
	if (s != NULL)
		pfree(s);
}

void
smem_window_remove(SmemWindow *window, SmemEntry *entry)
{
	entry->of_tenant->rows -= !entry->retry;
	if (--entry->of_tenant->entries == 0)
		hash_search(window->by_tenant, entry->of_tenant->name, HASH_REMOVE, NULL);
	free_str(entry->session);
	free_str(entry->receipt);
	free_str(entry->class);
	free_str(entry->reason);
	if (entry->retry && entry->kind != 0)
		window->settled_retries--;
	if (!entry->retry && is_closing(entry))
		window->closing--;
	window->rows--;
	window->rows_of[entry->list]--;
	window->stuck -= entry->stuck;
	window->delivered_of[entry->list] -= entry->kind == SMEM_OUTCOME_DELIVERED;
	window->bytes -= entry->bytes;
	dlist_delete(&entry->node);
	hash_search(window->by_id, &entry->id, HASH_REMOVE, NULL);
}

bool
smem_window_full(const SmemWindow *window)
{
	return window->rows >= SMEM_WINDOW_ROWS || window->bytes >= SMEM_WINDOW_BYTES;
}

static bool
list_blocks(const dlist_head *list, const char *tenant, const char *session,
			const SmemEntry *before, bool stuck_only)
{
	dlist_iter iter;

	dlist_foreach (iter, (dlist_head *) list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry == before)
			break;
		if (is_closing(entry) && (entry->stuck || !stuck_only) && is_of(entry, tenant, session))
			return true;
	}
	return false;
}

bool
smem_window_blocks(const SmemWindow *window, bool retry, const char *tenant, const char *session,
				   const SmemEntry *before)
{
	bool blocks = false;

	if (retry)
		return window->settled_retries > 0 &&
			   list_blocks(&window->list[SMEM_LIST_RETRIES], tenant, session, before, false);
	/* Of the parked ones the table knows, but for what became of those that were set aside. */
	if (window->stuck > 0 && window->settled_retries > 0 &&
		list_blocks(&window->list[SMEM_LIST_RETRIES], tenant, session, NULL, true))
		return true;
	if (window->closing == 0)
		return false;
	for (int i = 0; i < SMEM_LIST_RETRIES && !blocks; i++)
		blocks =
			window->rows_of[i] > 0 && list_blocks(&window->list[i], tenant, session, before, false);
	return blocks;
}

int
smem_window_settled(const SmemWindow *window, int list, int max)
{
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, (dlist_head *) &window->list[list])
	{
		if (dlist_container(SmemEntry, node, iter.cur)->kind == 0 || n >= max)
			break;
		n++;
	}
	return n;
}

static int
compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a;
	int64_t y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

void
smem_sort_ids(int64_t *ids, int n)
{
	qsort(ids, n, sizeof(int64_t), compare_ids);
}
