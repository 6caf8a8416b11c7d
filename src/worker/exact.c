/*
 * Exactly once on Kafka, the shipper's half.
 *
 * A page is one Kafka transaction: its rows, and a record of their ids.  When
 * it is committed, the shipper records the outcomes together with the page's
 * number, and only then the courier commits the next.  So of all that Kafka
 * has, at most one page is not recorded here, and a courier that begins asks
 * Kafka for it before it takes a row:
 *
 *     Kafka's last page is the one recorded here    nothing to do
 *     it is the one after that                      its rows are delivered
 *
 * Such rows may lie ahead of the position, with others before them that are
 * not delivered: they are noted in somamem.ahead until it has passed them.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "pg/flush.h"
#include "pg/settings.h"
#include "utils/memutils.h"

void
smem_exact_note_ahead(SmemShipper *sh, const int64_t *ids, int n)
{
	HASHCTL ctl = {.keysize = sizeof(int64_t), .entrysize = sizeof(int64_t), .hcxt = sh->context};

	if (n > 0 && sh->ahead == NULL)
		sh->ahead =
			hash_create("somamem rows ahead", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < n; i++)
		(void) hash_search(sh->ahead, &ids[i], HASH_ENTER, NULL);
}

void
smem_exact_forget_ahead(SmemShipper *sh, const int64_t *ids, int n)
{
	for (int i = 0; i < n && sh->ahead != NULL; i++)
		(void) hash_search(sh->ahead, &ids[i], HASH_REMOVE, NULL);
}

bool
smem_exact_is_ahead(const SmemShipper *sh, int64_t id)
{
	return sh->ahead != NULL && hash_search(sh->ahead, &id, HASH_FIND, NULL) != NULL;
}

/* In a transaction, in the process's context. */
void
smem_exact_start(SmemShipper *sh)
{
	int64_t *ids;
	int		 n = smem_ahead_load(sh->sink, &ids);

	smem_exact_note_ahead(sh, ids, n);
	pfree(ids);
}

void
smem_exact_greet(SmemShipper *sh)
{
	sh->exact = sh->sink == SMEM_SINK_KAFKA && smem_guc_kafka_exactly_once;
	sh->ready = !sh->exact;
	sh->page_done = sh->page_told = sh->page;
	sh->had_known = false;
	sh->heard_committed = false;
}

void
smem_exact_take_committed(SmemShipper *sh, SmemReader *rd)
{
	int64_t page = (int64_t) smem_get_u64(rd);
	uint32	n = smem_get_u32(rd);

	if (rd->bad || n > (size_t) (rd->end - rd->at) / 8 || !sh->exact || sh->ready)
	{
		rd->bad = true;
		return;
	}
	if (sh->had != NULL)
		pfree(sh->had);
	sh->had = MemoryContextAlloc(sh->context, sizeof(int64_t) * (n + 1));
	sh->nhad = (int) n;
	for (uint32 i = 0; i < n; i++)
		sh->had[i] = (int64_t) smem_get_u64(rd);
	sh->page_done = sh->page_told = page;
	sh->heard_committed = true;
	sh->had_known = page > sh->page;
	/* Kafka's count is the one that goes on, also where its topic was made anew. */
	if (!sh->had_known)
		sh->page = page;
}

void
smem_exact_take_page(SmemShipper *sh, SmemReader *rd)
{
	int64_t page = (int64_t) smem_get_u64(rd);

	if (!sh->exact || !sh->ready)
		rd->bad = true;
	else
		sh->page_done = page;
}

bool
smem_exact_due(const SmemShipper *sh)
{
	return sh->exact && sh->page_done > sh->page;
}

void
smem_exact_recorded(SmemShipper *sh)
{
	if (!smem_exact_due(sh))
		return;
	sh->page = sh->page_done;
	sh->had_known = false;
	sh->page_gate = smem_gate_open();
}

bool
smem_exact_tell(SmemShipper *sh)
{
	if (!sh->exact || sh->link.fd < 0 || sh->had_known || !sh->heard_committed ||
		(sh->ready && sh->page_told >= sh->page))
		return false;
	if (!smem_gate_is_passed(sh->page_gate))
		return true;
	/* Of the page that a courier begins with it knows itself. */
	if (sh->ready)
		smem_frame_number(&sh->link.out, SMEM_FRAME_RECORDED, (uint64_t) sh->page);
	sh->ready = true;
	sh->page_told = sh->page;
	return false;
}
