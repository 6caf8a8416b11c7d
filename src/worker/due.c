/*
 * Rows from the parking place: those whose time has come go to the courier,
 * beside the streams, and each attempt is counted before it is made.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "outbox/park.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "utils/timestamp.h"

/* Room above the window's for the bytes of parked rows. */
#define RETRY_BYTES (4 * 1024 * 1024)
#define RETRY_SESSIONS 32

/* A session of which something is under way yet is looked at again after this, and later where that hangs. */
#define PUT_OFF_US ((int64_t) 20000)
#define PUT_OFF_MAX_US ((int64_t) 1000000)

typedef struct DueState
{
	SmemShipper *sh;
	SmemDue		*due;
	int			 ndue;
	int64_t		 last_id; /* the last row that was looked at */
} DueState;

static bool
take_row(SmemOutboxRow *row, void *arg)
{
	DueState	*state = arg;
	SmemShipper *sh = state->sh;
	SmemEntry	*entry = smem_window_add(&sh->window, row->row.id, SMEM_LIST_RETRIES, row->tenant,
										 row->session, (int) row->row.payload.len);

	state->last_id = row->row.id;
	if (entry == NULL)
		return true;
	for (int i = 0; i < state->ndue; i++)
	{
		if (state->due[i].id != entry->id)
			continue;
		entry->head = state->due[i].head;
		entry->attempts = state->due[i].attempts;
		entry->commit_at = state->due[i].commit_at;
	}
	if (entry->head && entry->attempts > 1)
	{
		sh->retries_before++;
		pg_atomic_fetch_add_u64(&sh->slot->retries, 1);
	}
	smem_feed_send(sh, entry, row);
	return sh->window.bytes < SMEM_WINDOW_BYTES + RETRY_BYTES;
}

/* What did not fit had no attempt: gives the turns behind the last row back. */
static void
return_turns(SmemShipper *sh, DueState *state)
{
	int64_t *ids = palloc(sizeof(int64_t) * (state->ndue + 1));
	int		 n = 0;

	for (int i = 0; i < state->ndue; i++)
	{
		if (state->due[i].head && state->due[i].id > state->last_id &&
			smem_window_find(&sh->window, state->due[i].id) == NULL)
			ids[n++] = state->due[i].id;
	}
	smem_park_return(sh->sink, ids, n, sh->now);
}

/* A courier that died may have died of the row: that attempt stays counted. */
static bool
had_no_attempt(const SmemShipper *sh, const SmemEntry *entry)
{
	return (entry->head || entry->stuck) && entry->kind == 0 && entry->deaths == 0 &&
		   (!entry->sent || sh->link.fd >= 0);
}

void
smem_due_give_back(SmemShipper *sh)
{
	int64_t	  *ids = palloc(sizeof(int64_t) * (sh->window.rows_of[SMEM_LIST_RETRIES] + 1));
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &sh->window.list[SMEM_LIST_RETRIES])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (had_no_attempt(sh, entry))
			ids[n++] = entry->id;
	}
	if (n == 0 || !smem_begin("giving attempts back"))
		return;
	smem_park_return(sh->sink, ids, n, sh->now);
	smem_commit();
}

/* A row that waits in the courier for its sink to come back is not due again, nor another attempt. */
static void
extend_leases(SmemShipper *sh, TimestampTz lease)
{
	int64_t	  *ids = palloc(sizeof(int64_t) * (sh->window.rows_of[SMEM_LIST_RETRIES] + 1));
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &sh->window.list[SMEM_LIST_RETRIES])
		ids[n++] = dlist_container(SmemEntry, node, iter.cur)->id;
	smem_park_extend(sh->sink, ids, n, lease);
}

static int
room(const SmemShipper *sh)
{
	return Max(SMEM_RETRY_ROOM, SMEM_WINDOW_ROWS - smem_window_streams(&sh->window)) -
		   (sh->window.rows_of[SMEM_LIST_RETRIES] - sh->window.stuck);
}

/* How many rows of the session that begins here are due. */
static int
run_length(const SmemDue *due, int n)
{
	int len = 1;

	while (len < n && strcmp(due[len].session, due[0].session) == 0 &&
		   strcmp(due[len].tenant, due[0].tenant) == 0)
		len++;
	return len;
}

/*
 * How many rows of a session's run may go now.  None while the window has one
 * of them from an earlier turn, whose outcome is not known or not recorded: the
 * rows behind it would overtake it.  Nor does a row go before an earlier one of
 * its session that a stream has read.  What stands in the way is *obstacle.
 */
static int
ready_length(SmemShipper *sh, const SmemDue *due, int len, SmemEntry **obstacle)
{
	SmemEntry *first = smem_window_first_of(&sh->window, due[0].tenant, due[0].session);
	int		   n = 0;

	*obstacle = first;
	for (int i = 0; i < len; i++)
	{
		SmemEntry *entry = smem_window_find(&sh->window, due[i].id);

		if (entry != NULL)
		{
			*obstacle = entry;
			return 0;
		}
		n += first == NULL || due[i].id < first->id;
	}
	return n;
}

/* The first `ready` rows of a run may go; the others are looked at again once the obstacle may be away. */
static void
put_off(SmemShipper *sh, SmemDue *due, int ready, int len, const SmemEntry *obstacle)
{
	int64_t		age = obstacle->sent ? sh->now - obstacle->sent_at : 0;
	TimestampTz until = sh->now + Min(Max(age, PUT_OFF_US), PUT_OFF_MAX_US);
	int64_t	   *ids = palloc(sizeof(int64_t) * len);

	for (int i = ready; i < len; i++)
		ids[i - ready] = due[i].id;
	smem_park_extend(sh->sink, ids, len - ready, until);
	if (ready > 0)
		return;
	smem_park_return(sh->sink, &due->id, 1, until);
	due->head = false;
}

/* The rows that go now, in the order of their ids. */
static int
choose(SmemShipper *sh, DueState *state, int64_t *ids)
{
	int n = 0;

	for (int i = 0, len; i < state->ndue; i += len)
	{
		SmemEntry *obstacle;
		int		   ready;

		len = run_length(&state->due[i], state->ndue - i);
		ready = ready_length(sh, &state->due[i], len, &obstacle);
		if (ready < len)
			put_off(sh, &state->due[i], ready, len, obstacle);
		for (int k = 0; k < ready; k++)
			ids[n++] = state->due[i + k].id;
	}
	smem_sort_ids(ids, n);
	return Min(n, Max(0, room(sh)));
}

void
smem_due_feed(SmemShipper *sh)
{
	DueState	state = {.sh = sh};
	TimestampTz lease = sh->now + (int64_t) smem_guc_retry_max * 1000;
	int64_t	   *ids;
	int			n;

	if (sh->delayed > 0)
	{
		char **tenants;
		int	   woken = smem_park_wake_delayed(sh->sink, &tenants);

		sh->delayed -= woken;
		sh->parked += woken;
		smem_tally_woken(sh, tenants, woken);
	}
	extend_leases(sh, lease);
	state.ndue = smem_park_due(sh->sink, RETRY_SESSIONS, lease, &state.due);
	ids = palloc(sizeof(int64_t) * (state.ndue + 1));
	n = choose(sh, &state, ids);
	if (n > 0)
		smem_rows_by_id(sh->sink, ids, n, take_row, &state);
	return_turns(sh, &state);
	sh->park_changed = true;
}

/* While the sink is paused no attempt is made, and none may be counted. */
bool
smem_due_now(SmemShipper *sh)
{
	return !sh->paused && sh->next_due != 0 && sh->next_due <= sh->now &&
		   room(sh) >= SMEM_RETRY_ROOM / 2 &&
		   sh->window.bytes < SMEM_WINDOW_BYTES + RETRY_BYTES / 2;
}

void
smem_due_refresh(SmemShipper *sh)
{
	/* What a restore brought waits for all that belongs to it. */
	if (sh->hasten && !sh->blank)
	{
		smem_park_hasten(sh->sink, smem_guc_retry_max);
		sh->hasten = false;
	}
	sh->next_due = sh->blank ? 0 : smem_park_next(sh->sink);
	sh->parked_oldest = smem_park_oldest(sh->sink);
	sh->park_changed = false;
	sh->park_uncounted = true;
}
