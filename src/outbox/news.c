#include "postgres.h"

#include "outbox/news.h"

#include "catalog/pg_type.h"
#include "outbox/row.h"
#include "pg/query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* From an outbox id and a sink's number to the id of the news, and back. */
#define NEWS_ID "-(2 * d.id + CASE d.sink WHEN 'kafka' THEN 1 ELSE 0 END) - 1"
#define OUTBOX_ID "(-n.id - 1) / 2"
#define SINK_NAME "CASE (-n.id - 1) % 2 WHEN 1 THEN 'kafka' ELSE 'somabrain' END"

enum
{
	COL_EXTRAS = 12,
	COL_NAME
};

/* A row of the outbox, but for what belongs to the event alone. */
static void
decode(SPITupleTable *table, uint64 i, SmemOutboxRow *row)
{
	smem_row_decode(table, i, SMEM_SINK_KAFKA, row);
	row->row.flags = SMEM_ROW_DEAD_LETTER;
	smem_row_text(table, i, COL_EXTRAS, row, &row->row.extras);
	smem_row_text(table, i, COL_NAME, row, &row->row.universe);
}

void
smem_news_read(int max, SmemRowVisitor visit, void *arg)
{
	static SmemQuery query = {
		"SELECT " NEWS_ID
		", '3'::xid8, d.created_at, NULL::timestamptz, d.tenant, d.session_id, d.namespace,"
		" d.persona_id, d.idempotency_key, d.traceparent, d.payload,"
		" pg_catalog.regexp_replace(pg_catalog.json_build_object('id', d.id, 'sink', d.sink, 'class', d.class,"
		"  'reason', d.reason, 'attempts', d.attempts, 'died_at', d.died_at)::text, '^{|}$', '', 'g'),"
		" d.sink || '/' || d.id"
		" FROM somamem.dead_letter d WHERE d.announced_at IS NULL ORDER BY d.died_at LIMIT $1",
		1,
		{INT8OID}};
	Datum		   args[1] = {Int64GetDatum(max)};
	uint64		   found = smem_query(&query, args, NULL, 0);
	SPITupleTable *table = SPI_tuptable;
	MemoryContext  context =
		AllocSetContextCreate(CurrentMemoryContext, "somamem news", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	bool		  more = true;

	for (uint64 i = 0; i < found && more; i++)
	{
		SmemOutboxRow row;

		MemoryContextReset(context);
		decode(table, i, &row);
		more = visit(&row, arg);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	SPI_freetuptable(table);
}

void
smem_news_told(const int64_t *ids, int n)
{
	static SmemQuery query = {
		"UPDATE somamem.dead_letter d SET announced_at = pg_catalog.clock_timestamp()"
		" FROM pg_catalog.unnest($1) AS n (id) WHERE d.id = " OUTBOX_ID " AND d.sink = " SINK_NAME,
		1,
		{INT8ARRAYOID}};
	Datum *elements = palloc(sizeof(Datum) * (n + 1));
	Datum  args[1];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	args[0] =
		PointerGetDatum(construct_array(elements, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	smem_query(&query, args, NULL, 0);
}
