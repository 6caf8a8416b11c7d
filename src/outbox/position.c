#include "postgres.h"

#include "outbox/position.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "pg/query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void
load_moment(int first_column, SmemMoment *moment)
{
	HeapTuple tuple = SPI_tuptable->vals[0];
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool	  isnull;

	smem_snapshot_parse(SPI_getvalue(tuple, desc, first_column), &moment->snapshot);
	moment->high = DatumGetInt64(SPI_getbinval(tuple, desc, first_column + 1, &isnull));
	moment->next_xid = DatumGetUInt64(SPI_getbinval(tuple, desc, first_column + 2, &isnull));
}

/* A restore that is not over yet, or was taken apart, may have left the log's sequence behind the log. */
static void
lift_sequence(int64 newest)
{
	static SmemQuery query = {
		"SELECT pg_catalog.setval('somamem.shipment_id_seq', $1) FROM somamem.shipment_id_seq WHERE last_value < $1",
		1,
		{INT8OID}};
	Datum args[1] = {Int64GetDatum(newest)};

	smem_query(&query, args, NULL, 0);
}

/* What another server had ahead of its position is in its log, which is asked instead. */
static void
forget_ahead(SmemSink sink)
{
	static SmemQuery query = {"DELETE FROM somamem.ahead WHERE sink = $1", 1, {TEXTOID}};
	Datum			 args[1] = {CStringGetTextDatum(smem_sink_name(sink))};

	smem_query(&query, args, NULL, 0);
}

bool
smem_position_load(SmemSink sink, SmemPosition *position)
{
	static SmemQuery query = {
		"SELECT from_snapshot, from_high, from_next_xid, to_snapshot, to_high, to_next_xid, after_id,"
		" system_identifier, id, kafka_page FROM somamem.shipment WHERE sink = $1 ORDER BY id DESC LIMIT 1",
		1,
		{TEXTOID}};
	Datum	  args[1] = {CStringGetTextDatum(smem_sink_name(sink))};
	HeapTuple tuple;
	TupleDesc desc;
	bool	  isnull;

	memset(position, 0, sizeof(*position));
	smem_moment_zero(&position->from);
	if (smem_query(&query, args, NULL, 1) == 0)
		return false;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	position->restored =
		DatumGetInt64(SPI_getbinval(tuple, desc, 8, &isnull)) != (int64) GetSystemIdentifier();
	if (!position->restored)
	{
		position->kafka_page = DatumGetInt64(SPI_getbinval(tuple, desc, 10, &isnull));
		if (isnull)
			position->kafka_page = 0;
		load_moment(1, &position->from);
		(void) SPI_getbinval(tuple, desc, 4, &isnull);
		position->in_step = !isnull;
	}
	if (position->in_step)
	{
		load_moment(4, &position->to);
		position->after_id = DatumGetInt64(SPI_getbinval(tuple, desc, 7, &isnull));
	}
	lift_sequence(DatumGetInt64(SPI_getbinval(tuple, desc, 9, &isnull)));
	if (position->restored)
		forget_ahead(sink);
	return true;
}

static Datum
int8_array(const int64_t *values, int n, Oid type)
{
	Datum *elements = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
smem_position_record(SmemSink sink, const SmemPosition *position, const SmemPage *page)
{
	static SmemQuery query = {
		"INSERT INTO somamem.shipment (sink, system_identifier, from_snapshot, from_high, from_next_xid,"
		" to_snapshot, to_high, to_next_xid, after_id, oldest_commit_at, rows, bytes, ids, delivered_at,"
		" receipts, first_id, last_id, kafka_page, owners)"
		" VALUES ($1, $2, $3::pg_snapshot, $4, $5, $6::pg_snapshot, $7, $8, $9, $10, $11, $12, $13, $14,"
		" $15, $16, $17, $18, $19)",
		19,
		{TEXTOID, INT8OID, TEXTOID, INT8OID, XID8OID, TEXTOID, INT8OID, XID8OID, INT8OID,
		 TIMESTAMPTZOID, INT4OID, INT8OID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTOID, INT8OID,
		 INT8OID, INT8OID, INT8ARRAYOID}};
	Datum	args[19] = {0};
	char	nulls[20] = "                   ";
	int64_t first = PG_INT64_MAX;
	int64_t last = 0;

	args[0] = CStringGetTextDatum(smem_sink_name(sink));
	args[1] = Int64GetDatum((int64) GetSystemIdentifier());
	args[2] = CStringGetTextDatum(smem_snapshot_text(&position->from.snapshot));
	args[3] = Int64GetDatum(position->from.high);
	args[4] = UInt64GetDatum(position->from.next_xid);
	if (position->in_step)
	{
		args[5] = CStringGetTextDatum(smem_snapshot_text(&position->to.snapshot));
		args[6] = Int64GetDatum(position->to.high);
		args[7] = UInt64GetDatum(position->to.next_xid);
		args[8] = Int64GetDatum(position->after_id);
	}
	else
	{
		nulls[5] = nulls[6] = nulls[7] = 'n';
		args[8] = Int64GetDatum(0);
	}
	args[17] = Int64GetDatum(position->kafka_page);
	nulls[17] = position->kafka_page == 0 ? 'n' : ' ';
	args[10] = Int32GetDatum(page->rows);
	args[11] = Int64GetDatum(page->bytes);
	if (page->rows > 0)
	{
		for (int i = 0; i < page->rows; i++)
		{
			first = Min(first, page->ids[i]);
			last = Max(last, page->ids[i]);
		}
		args[9] = TimestampTzGetDatum(page->oldest_commit_at);
		args[12] = int8_array(page->ids, page->rows, INT8OID);
		args[13] = int8_array(page->delivered_at, page->rows, TIMESTAMPTZOID);
		args[14] = CStringGetTextDatum(page->receipts);
		args[15] = Int64GetDatum(first);
		args[16] = Int64GetDatum(last);
		args[18] = int8_array(page->owners, page->rows, INT8OID);
	}
	else
		nulls[9] = nulls[12] = nulls[13] = nulls[14] = nulls[15] = nulls[16] = nulls[18] = 'n';
	smem_query(&query, args, nulls, 0);
}

int
smem_ahead_load(SmemSink sink, int64_t **ids)
{
	static SmemQuery query = {"SELECT id FROM somamem.ahead WHERE sink = $1", 1, {TEXTOID}};
	Datum			 args[1] = {CStringGetTextDatum(smem_sink_name(sink))};
	int				 n = (int) smem_query(&query, args, NULL, 0);

	*ids = palloc(sizeof(int64_t) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		bool isnull;

		(*ids)[i] =
			DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	return n;
}

void
smem_ahead_add(SmemSink sink, const int64_t *ids, int n)
{
	static SmemQuery query = {
		"INSERT INTO somamem.ahead (sink, id) SELECT $1, a.id FROM pg_catalog.unnest($2) AS a (id)"
		" ON CONFLICT (sink, id) DO NOTHING",
		2,
		{TEXTOID, INT8ARRAYOID}};
	Datum args[2] = {CStringGetTextDatum(smem_sink_name(sink)), int8_array(ids, n, INT8OID)};

	if (n > 0)
		smem_query(&query, args, NULL, 0);
}

void
smem_ahead_remove(SmemSink sink, const int64_t *ids, int n)
{
	static SmemQuery query = {
		"DELETE FROM somamem.ahead WHERE sink = $1 AND id = ANY ($2)", 2, {TEXTOID, INT8ARRAYOID}};
	Datum args[2] = {CStringGetTextDatum(smem_sink_name(sink)), int8_array(ids, n, INT8OID)};

	if (n > 0)
		smem_query(&query, args, NULL, 0);
}
