/*
 * Exactly once on Kafka: pages.
 *
 * A page is one transaction: rows in their order, then the record that says
 * whose rows they are, in the position topic.  A reader of committed messages
 * sees all of it or nothing, and so do we, when we ask Kafka where we were.
 *
 *        +------+  rows wait   +------+ all have    +--------+ reported +--------+
 *   +--> | NONE | -----------> | ROWS | ----------> | RECORD | -------> | COMMIT |
 *   |    +------+              +------+  landed     +--------+          +--------+
 *   |        ^                     |                     |               |      |
 *   |        | the life is over    v                     v               |      |
 *   |        +---------------------+---------------------+    life over, |      | done
 *   |        |                                                or error   v      |
 *   |        |             the next life finds the page      +-------+          |
 *   |        +---------------------------------------------- | DOUBT |          |
 *   |                                                absent  +-------+          |
 *   | RECORDED                                                   | there       v
 *   |                                                            |         +------+
 *   +------------------------------------------------------------+-------> | TOLD |
 *                                                                          +------+
 *
 * Why each row is there once:
 *
 * The record is committed with its rows or not at all, so the last committed
 * record tells the truth about them, and nothing else is believed: every
 * failure, in whatever step and of whatever kind, ends the producer's life.
 * The next life takes over first (init_transactions), which ends what was left
 * open and fences the life before, so that a commit still on its way is
 * decided by then, and reads the record only afterwards.  It is either the
 * page before, and the rows are sent again; or the page in doubt, to the last
 * id, and they are delivered; or something that nobody but another courier can
 * have written, and then this one knows nothing for certain and ends: the next
 * one begins with COMMITTED.
 *
 * What librdkafka thinks about a failed commit (retriable, abortable, fatal)
 * is not used: it may err, Kafka's log does not.  No transaction is aborted by
 * a call of ours either: the takeover does it.
 *
 * If this process dies after the commit and before the worker has recorded
 * the page, its rows come again after a restart, but COMMITTED comes before
 * them.  The record names one page only: that is enough because no page is
 * begun before RECORDED has come for the one before.  Rows that come meanwhile
 * make the next page larger, and no transaction is kept open for a worker that
 * is slow, which would hold up every reader of the topics.
 */
#include <string.h>

#include "courier/kafka.h"

/* Without a report for so long the page is given up; far below what a broker allows. */
#define PROGRESS_WITHIN (10 * SMEM_SEC)

#define RECORD_TEXT_MAX ((size_t) 1024 * 1024)

void
smem_page_init(SmemPage *page)
{
	memset(page, 0, sizeof(*page));
	page->limit = SMEM_PAGE_ROWS_MAX;
	smem_buf_init(&page->text, RECORD_TEXT_MAX);
}

void
smem_page_free(SmemPage *page)
{
	smem_buf_free(&page->text);
}

static void
note_progress(SmemKafka *kafka)
{
	kafka->page.progress_at = kafka->host->now;
	kafka->progress_at = kafka->host->now;
}

static bool
may_begin(const SmemKafka *kafka)
{
	return kafka->page.step == SMEM_PAGE_NONE && kafka->phase == SMEM_KAFKA_RUNNING &&
		   !kafka->paused && kafka->rows.count > 0;
}

/* From NONE. */
static void
begin_page(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;

	page->step = SMEM_PAGE_ROWS;
	page->rows = kafka->rows.count < page->limit ? kafka->rows.count : page->limit;
	page->handed = 0;
	page->landed = 0;
	page->progress_at = kafka->host->now;
}

static void
feed_page(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;

	while (page->step == SMEM_PAGE_ROWS && page->handed < page->rows && !kafka->full)
	{
		uint32_t handed = kafka->rows.handed;

		if (!smem_kafka_hand_over(kafka))
			break;
		page->handed += kafka->rows.handed > handed;
	}
}

static void
write_record(SmemKafka *kafka)
{
	SmemPage		  *page = &kafka->page;
	const SmemPending *row = kafka->rows.first;

	page->record.page = page->last + 1;
	page->record.n = page->rows;
	for (uint32_t i = 0; i < page->rows; i++, row = row->next)
		page->record.ids[i] = row->id;
	smem_buf_reset(&page->text);
	smem_page_record_put(&page->text, &page->record);
}

/* From ROWS, all of them landed. */
static void
seal_page(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;
	SmemStr	  text;
	SmemError err;

	write_record(kafka);
	text = (SmemStr){smem_buf_head(&page->text), smem_buf_len(&page->text)};
	switch (smem_producer_send_position(
		&kafka->producer, smem_buf_text(&kafka->target.position_topic),
		smem_str(smem_buf_text(&kafka->target.source)), text, &page->record, &err))
	{
		case SMEM_PRODUCED_OK:
			page->step = SMEM_PAGE_RECORD;
			page->record_held = true;
			break;
		case SMEM_PRODUCED_FULL:
			/* Its queue is empty: it has failed, and the report is on its way. */
			break;
		case SMEM_PRODUCED_TOO_LARGE:
			smem_kafka_fail(kafka, "the record of the page is too large for the Kafka client");
			break;
		case SMEM_PRODUCED_TROUBLE:
			smem_kafka_fail(kafka, err.text);
			break;
	}
}

void
smem_kafka_page_step(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;

	if (kafka->phase != SMEM_KAFKA_RUNNING && kafka->phase != SMEM_KAFKA_FLUSHING)
		return;
	if (may_begin(kafka))
		begin_page(kafka);
	feed_page(kafka);
	if (page->step != SMEM_PAGE_ROWS || page->landed < page->rows)
		return;
	/* Where every row of it was refused, there is nothing to commit. */
	if (page->rows == 0)
		page->step = SMEM_PAGE_NONE;
	else
		seal_page(kafka);
}

void
smem_kafka_page_landed(SmemKafka *kafka)
{
	kafka->page.landed++;
	note_progress(kafka);
}

void
smem_kafka_page_lost_row(SmemKafka *kafka)
{
	if (kafka->page.step == SMEM_PAGE_ROWS)
		kafka->page.rows--;
}

void
smem_kafka_page_record_back(SmemKafka *kafka, bool delivered)
{
	SmemPage *page = &kafka->page;

	page->record_held = false;
	if (!delivered || page->step != SMEM_PAGE_RECORD)
		return;
	if (kafka->phase != SMEM_KAFKA_RUNNING && kafka->phase != SMEM_KAFKA_FLUSHING)
		return;
	page->step = SMEM_PAGE_COMMIT;
	note_progress(kafka);
	smem_txn_order(kafka->producer.txn, SMEM_TXN_COMMIT);
}

/* From COMMIT or DOUBT: Kafka has the page. */
static void
tell_page(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;

	for (uint32_t i = 0; i < page->record.n; i++)
		smem_kafka_deliver(kafka, kafka->rows.first);
	page->last = page->record.page;
	page->step = SMEM_PAGE_TOLD;
	page->limit = page->limit >= SMEM_PAGE_ROWS_MAX / 2 ? SMEM_PAGE_ROWS_MAX : page->limit * 2;
	smem_frame_number(kafka->host->frames, SMEM_FRAME_PAGE, page->last);
	smem_kafka_end_trouble(kafka);
	note_progress(kafka);
}

static void
take_commit(SmemKafka *kafka, const SmemTxnResult *result)
{
	if (kafka->page.step != SMEM_PAGE_COMMIT)
		return;
	if (result->done)
		tell_page(kafka);
	if (!result->open)
		smem_kafka_fail(kafka, result->err.text);
}

/* The first life: the worker learns where Kafka is. */
static void
tell_last(SmemKafka *kafka, const SmemPageRecord *last)
{
	smem_frame_committed(kafka->host->frames, last->page, last->ids, last->n);
	kafka->page.known = true;
	kafka->page.last = last->page;
}

/* A later life: Kafka must be where we left it. */
static void
compare_last(SmemKafka *kafka, const SmemPageRecord *last)
{
	SmemPage *page = &kafka->page;

	if (page->step == SMEM_PAGE_DOUBT && smem_page_record_equal(last, &page->record))
		tell_page(kafka);
	else if (last->page != page->last)
		kafka->host->broken = true;
	else if (page->step == SMEM_PAGE_DOUBT)
		page->step = SMEM_PAGE_NONE;
}

static void
take_prepared(SmemKafka *kafka, const SmemTxnResult *result)
{
	const SmemPageRecord *last = smem_txn_last(kafka->producer.txn);

	if (kafka->phase != SMEM_KAFKA_PREPARING)
		return;
	if (!result->done)
	{
		smem_kafka_fail(kafka, result->err.text);
		return;
	}
	if (kafka->page.known)
		compare_last(kafka, last);
	else
		tell_last(kafka, last);
	kafka->phase = SMEM_KAFKA_RUNNING;
	kafka->progress_at = kafka->host->now;
}

void
smem_kafka_page_poll(SmemKafka *kafka)
{
	SmemTxn		 *txn = kafka->producer.txn;
	SmemTxnResult result;
	SmemError	  err;

	if (txn == NULL)
		return;
	if (smem_txn_trouble(txn, &err))
		smem_kafka_note_error(kafka, err.text);
	if (!smem_txn_take(txn, &result))
		return;
	if (result.order == SMEM_TXN_PREPARE)
		take_prepared(kafka, &result);
	else
		take_commit(kafka, &result);
}

void
smem_kafka_page_drop(SmemKafka *kafka)
{
	SmemPage *page = &kafka->page;

	if (page->step == SMEM_PAGE_COMMIT)
		page->step = SMEM_PAGE_DOUBT;
	else if (page->step == SMEM_PAGE_ROWS || page->step == SMEM_PAGE_RECORD)
	{
		/* Too much for the time, or for a topic: the next one is smaller. */
		page->limit = page->limit > 1 ? page->limit / 2 : 1;
		page->step = SMEM_PAGE_NONE;
	}
}

static bool
is_open(const SmemPage *page)
{
	return page->step == SMEM_PAGE_ROWS || page->step == SMEM_PAGE_RECORD ||
		   page->step == SMEM_PAGE_COMMIT;
}

bool
smem_kafka_page_at_rest(const SmemKafka *kafka)
{
	const SmemPage *page = &kafka->page;

	if (!kafka->exactly_once)
		return true;
	return page->known && !is_open(page) && page->step != SMEM_PAGE_DOUBT;
}

SmemTime
smem_kafka_page_due(const SmemKafka *kafka)
{
	if (!kafka->exactly_once || !is_open(&kafka->page))
		return SMEM_TIME_NEVER;
	return kafka->page.progress_at + PROGRESS_WITHIN;
}
