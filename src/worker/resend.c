/*
 * What a new courier has not got yet: the rows of the window that have no
 * outcome go to it, as much as the socket's buffer takes, in the order of
 * their ids.  Nothing new is read before all of them have gone: it would
 * overtake.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "outbox/park.h"
#include "pg/query.h"

/* What stands before a parked row may have left the window with its trouble recorded. */
static bool
head_is_away(SmemShipper *sh, const SmemOutboxRow *row)
{
	int64_t head = smem_park_head(sh->sink, row->tenant, row->session);

	return head != 0 && smem_window_find(&sh->window, head) == NULL;
}

/* A row that its session's trouble caught up with meanwhile waits behind it. */
static bool
resend_row(SmemOutboxRow *row, void *arg)
{
	SmemShipper *sh = arg;
	SmemEntry	*entry = smem_window_find(&sh->window, row->row.id);
	SmemOutcome	 behind = {.id = row->row.id, .kind = SMEM_OUTCOME_BEHIND};

	if (entry == NULL || entry->kind != 0 || entry->sent)
		return true;
	if (!entry->retry)
		smem_feed_offer(sh, entry, row);
	else if (smem_window_blocks(&sh->window, true, row->tenant, row->session, entry) ||
			 head_is_away(sh, row))
		smem_window_settle(&sh->window, entry, &behind);
	else
		smem_feed_send(sh, entry, row);
	return !smem_feed_socket_full(sh);
}

static int
collect_unsent(dlist_head *list, int64_t *ids, int n)
{
	dlist_iter iter;

	dlist_foreach (iter, list)
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (entry->kind == 0 && !entry->sent && !smem_entry_is_news(entry))
			ids[n++] = entry->id;
	}
	return n;
}

void
smem_resend(SmemShipper *sh)
{
	SmemEntry *one;
	int64_t	  *ids = palloc(sizeof(int64_t) * (sh->window.rows + 1));
	int		   n = 0;

	for (int i = 0; i < SMEM_LISTS; i++)
		n = collect_unsent(&sh->window.list[i], ids, n);
	smem_sort_ids(ids, n);
	sh->unsent = n > 0;
	sh->alone = sh->alone && smem_window_suspects(&sh->window, 1);
	if (n == 0 || (sh->alone && smem_window_under_way(&sh->window, &one) > 0))
		return;
	if (sh->alone)
		n = 1;
	if (!smem_begin("reading rows again"))
	{
		sh->exists = false;
		return;
	}
	smem_rows_by_id(sh->sink, ids, n, resend_row, sh);
	smem_commit();
}
