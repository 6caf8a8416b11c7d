/*
 * Kafka's shipper tells of dead letters, its own and other sinks', on the
 * dead-letter topic.  The table knows of which nobody was told; what a courier
 * that ended had under way is simply read again.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "outbox/news.h"

#define NEWS_ROWS 64

static bool
take_news(SmemOutboxRow *row, void *arg)
{
	SmemShipper *sh = arg;
	SmemEntry	*entry = smem_window_add(&sh->window, row->row.id, SMEM_LIST_RETRIES, row->tenant,
										 row->session, (int) row->row.payload.len);

	if (entry != NULL)
		smem_feed_send(sh, entry, row);
	return !smem_feed_socket_full(sh);
}

bool
smem_news_due(SmemShipper *sh)
{
	return sh->news && sh->link.fd >= 0 && sh->sink == SMEM_SINK_KAFKA &&
		   sh->window.rows_of[SMEM_LIST_RETRIES] < SMEM_RETRY_ROOM;
}

void
smem_news_feed(SmemShipper *sh)
{
	int before = sh->window.rows_of[SMEM_LIST_RETRIES];

	/* Those under way are read again, as the oldest; so what is read is more than what is under way. */
	smem_news_read(NEWS_ROWS + before, take_news, sh);
	sh->news =
		sh->window.rows_of[SMEM_LIST_RETRIES] - before >= NEWS_ROWS || smem_feed_socket_full(sh);
}

void
smem_news_drop(SmemShipper *sh)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &sh->window.list[SMEM_LIST_RETRIES])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (!smem_entry_is_news(entry) || entry->kind != 0)
			continue;
		smem_window_remove(&sh->window, entry);
		sh->news = true;
	}
}
