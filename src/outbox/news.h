/*
 * News of dead letters: each one, of whatever sink, is told of once on
 * Kafka's dead-letter topic.
 *
 * On its way an item of news has a negative id, which no row has.
 */
#ifndef SMEM_OUTBOX_NEWS_H
#define SMEM_OUTBOX_NEWS_H

#include "outbox/page.h"

/*
 * Visits up to max dead letters that nobody was told of, the oldest first, as
 * rows for the courier; rows whose id the caller has are passed over by it.
 * In a transaction.
 */
extern void smem_news_read(int max, SmemRowVisitor visit, void *arg);

/* These have been told of; ids are those of the news.  In a transaction. */
extern void smem_news_told(const int64_t *ids, int n);

#endif
