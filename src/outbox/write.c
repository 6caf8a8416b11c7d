#include "postgres.h"

#include "outbox/write.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "outbox/ring.h"
#include "pg/catalog.h"
#include "pg/flush.h"
#include "pg/shmem.h"
#include "pg/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

enum
{
	ATT_ID = 1,
	ATT_XID,
	ATT_CREATED_AT,
	ATT_DELIVER_AFTER,
	ATT_SEGMENT,
	ATT_TENANT,
	ATT_SESSION,
	ATT_NAMESPACE,
	ATT_PERSONA,
	ATT_KEY,
	ATT_TRACEPARENT,
	ATT_PAYLOAD
};

/* Rows of one insertion: so many, or so many bytes of payload. */
#define CHUNK_ROWS 100
#define CHUNK_BYTES (1024 * 1024)

typedef struct Chunk
{
	MemoryContext	context; /* holds the rows' values, emptied after each insertion */
	TupleTableSlot *slots[CHUNK_ROWS];
	int				nslots; /* created so far */
	int				nrows;
	Size			bytes;
} Chunk;

typedef struct Writer
{
	EState	   *estate;
	SmemLedger	ledger;
	SmemTable	outbox;
	int			segment;
	TimestampTz now;
	Chunk		chunk;
} Writer;

static Datum
to_text(SmemStr s)
{
	return PointerGetDatum(cstring_to_text_with_len(s.data, s.len));
}

static void
put_text(TupleTableSlot *slot, AttrNumber att, SmemStr s)
{
	slot->tts_isnull[att - 1] = !smem_str_present(s);
	if (smem_str_present(s))
		slot->tts_values[att - 1] = to_text(s);
}

static Datum
copy_payload(const SmemWrite *write)
{
	Jsonb *payload = palloc(VARHDRSZ + write->payload_len);

	SET_VARSIZE(payload, VARHDRSZ + write->payload_len);
	memcpy(&payload->root, write->payload, write->payload_len);
	return JsonbPGetDatum(payload);
}

/* Sets every column; what it points to lives in the current context. */
static void
fill_row(Writer *writer, TupleTableSlot *slot, const SmemWrite *write,
		 const SmemWriteExtras *extras, int64 id)
{
	Datum *values = slot->tts_values;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, slot->tts_tupleDescriptor->natts * sizeof(bool));
	values[ATT_ID - 1] = Int64GetDatum(id);
	values[ATT_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[ATT_CREATED_AT - 1] = TimestampTzGetDatum(writer->now);
	values[ATT_DELIVER_AFTER - 1] = TimestampTzGetDatum(extras->deliver_after);
	slot->tts_isnull[ATT_DELIVER_AFTER - 1] = extras->deliver_after == 0;
	values[ATT_SEGMENT - 1] = Int16GetDatum(writer->segment);
	put_text(slot, ATT_TENANT, write->tenant);
	put_text(slot, ATT_SESSION, write->session);
	put_text(slot, ATT_NAMESPACE, write->namespace);
	put_text(slot, ATT_PERSONA, write->persona);
	put_text(slot, ATT_KEY, write->key);
	put_text(slot, ATT_TRACEPARENT, extras->traceparent);
	values[ATT_PAYLOAD - 1] = copy_payload(write);
	ExecStoreVirtualTuple(slot);
}

static void
flush_chunk(Writer *writer)
{
	Chunk		 *chunk = &writer->chunk;
	MemoryContext caller = MemoryContextSwitchTo(chunk->context);

	if (chunk->nrows == 1)
		smem_table_insert(&writer->outbox, chunk->slots[0]);
	else if (chunk->nrows > 1)
		smem_table_insert_many(&writer->outbox, chunk->slots, chunk->nrows);
	for (int i = 0; i < chunk->nrows; i++)
		ExecClearTuple(chunk->slots[i]);
	chunk->nrows = 0;
	chunk->bytes = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(chunk->context);
}

static void
add_row(Writer *writer, const SmemWrite *write, const SmemWriteExtras *extras, int64 id)
{
	Chunk		 *chunk = &writer->chunk;
	MemoryContext caller;

	if (chunk->nrows == CHUNK_ROWS ||
		(chunk->nrows > 0 && chunk->bytes + write->payload_len > CHUNK_BYTES))
		flush_chunk(writer);
	if (chunk->nrows == chunk->nslots)
		chunk->slots[chunk->nslots++] = smem_table_slot(&writer->outbox);
	caller = MemoryContextSwitchTo(chunk->context);
	fill_row(writer, chunk->slots[chunk->nrows++], write, extras, id);
	chunk->bytes += write->payload_len;
	MemoryContextSwitchTo(caller);
}

static void
open_writer(Writer *writer, EState *estate)
{
	writer->estate = estate;
	writer->now = GetCurrentTimestamp();
	writer->segment = smem_ring_current();
	smem_ledger_open(&writer->ledger, estate);
	smem_table_open(&writer->outbox, estate, smem_segment_oid(writer->segment), false);
	writer->chunk.context =
		AllocSetContextCreate(estate->es_query_cxt, "somamem chunk", ALLOCSET_DEFAULT_SIZES);
	writer->chunk.nslots = 0;
	writer->chunk.nrows = 0;
	writer->chunk.bytes = 0;
}

static void
close_writer(Writer *writer)
{
	for (int i = 0; i < writer->chunk.nslots; i++)
		ExecDropSingleTupleTableSlot(writer->chunk.slots[i]);
	smem_table_close(&writer->outbox);
	smem_ledger_close(&writer->ledger);
}

/* Run by run: a batch is mostly of one tenant. */
static void
tell_written(const SmemWrite *writes, int n, const SmemClaim *claims)
{
	int64 rows = 0;

	for (int i = 0; i < n; i++)
	{
		rows += !claims[i].deduplicated;
		if (i + 1 < n && smem_str_equal(writes[i].tenant, writes[i + 1].tenant))
			continue;
		if (rows > 0)
			smem_xact_wrote(writes[i].tenant, rows);
		rows = 0;
	}
}

void
smem_outbox_write(const SmemWrite *writes, int n, const SmemWriteExtras *extras, SmemClaim *claims)
{
	EState		 *estate = CreateExecutorState();
	MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
	Writer		  writer;
	bool		  any_foreign = false;
	int			  written = 0;

	open_writer(&writer, estate);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		claims[i] = smem_ledger_claim(&writer.ledger, &writes[i], writer.now);
		any_foreign |= claims[i].foreign;
		if (claims[i].deduplicated)
			continue;
		add_row(&writer, &writes[i], extras, claims[i].id);
		written++;
	}
	flush_chunk(&writer);
	close_writer(&writer);
	MemoryContextSwitchTo(caller);
	FreeExecutorState(estate);

	if (written > 0)
		tell_written(writes, n, claims);
	if (any_foreign)
		smem_flush_as_committed();
}
