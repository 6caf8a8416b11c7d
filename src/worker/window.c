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

	memset(window, 0, sizeof(*window));
	window->context = context;
	window->by_id = hash_create("somamem window", SMEM_WINDOW_ROWS, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&window->stream);
	dlist_init(&window->retries);
}

SmemEntry *
smem_window_find(SmemWindow *window, int64_t id)
{
	return hash_search(window->by_id, &id, HASH_FIND, NULL);
}

SmemEntry *
smem_window_add(SmemWindow *window, int64_t id, bool retry, const char *tenant, const char *session,
				int bytes)
{
	bool	   found;
	SmemEntry *entry = hash_search(window->by_id, &id, HASH_ENTER, &found);

	if (found)
		return NULL;
	memset(entry, 0, sizeof(*entry));
	entry->id = id;
	entry->retry = retry;
	entry->bytes = bytes;
	entry->tenant = MemoryContextStrdup(window->context, tenant);
	entry->session = MemoryContextStrdup(window->context, session);
	dlist_push_tail(retry ? &window->retries : &window->stream, &entry->node);
	window->rows++;
	window->bytes += bytes;
	return entry;
}

/* Sinks speak UTF-8; in a database that does not, what is no ASCII is masked, which leaves JSON whole. */
static char *
copy_str(SmemWindow *window, SmemStr s)
{
	char *copy;

	if (!smem_str_present(s))
		return NULL;
	copy = MemoryContextAlloc(window->context, s.len + 1);
	memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		for (size_t i = 0; i < s.len; i++)
		{
			if (IS_HIGHBIT_SET(copy[i]))
				copy[i] = '?';
		}
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
	if (entry->retry)
		window->settled_retries++;
	else if (is_closing(entry))
		window->closing++;
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
	unsend(&window->stream, blame);
	unsend(&window->retries, blame);
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
	return under_way(&window->stream, entry) + under_way(&window->retries, entry);
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
	return suspects(&window->stream, deaths) || suspects(&window->retries, deaths);
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
	free_str(entry->tenant);
	free_str(entry->session);
	free_str(entry->receipt);
	free_str(entry->class);
	free_str(entry->reason);
	if (entry->retry && entry->kind != 0)
		window->settled_retries--;
	if (!entry->retry && is_closing(entry))
		window->closing--;
	window->rows--;
	window->bytes -= entry->bytes;
	dlist_delete(&entry->node);
	hash_search(window->by_id, &entry->id, HASH_REMOVE, NULL);
}

bool
smem_window_full(const SmemWindow *window)
{
	return window->rows >= SMEM_WINDOW_ROWS || window->bytes >= SMEM_WINDOW_BYTES;
}

bool
smem_window_blocks(const SmemWindow *window, bool retry, const char *tenant, const char *session,
				   const SmemEntry *before)
{
	dlist_iter iter;

	if (retry ? window->settled_retries == 0 : window->closing == 0)
		return false;
	dlist_foreach (iter, (dlist_head *) (retry ? &window->retries : &window->stream))
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry == before)
			break;
		if (is_closing(entry) && strcmp(entry->session, session) == 0 &&
			strcmp(entry->tenant, tenant) == 0)
			return true;
	}
	return false;
}

int
smem_window_settled(SmemWindow *window, int max)
{
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &window->stream)
	{
		if (dlist_container(SmemEntry, node, iter.cur)->kind == 0 || n >= max)
			break;
		n++;
	}
	return n;
}
