#include "postgres.h"

#include "outbox/page.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "outbox/row.h"
#include "pg/query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Ids that are looked at in one transaction where most of them may be passed over. */
#define STRETCH 10000

static bool
is_new(const SmemStep *step, uint64_t xid)
{
	return xid > SMEM_XID_PUT_BACK && !smem_snapshot_shows(&step->from.snapshot, xid) &&
		   smem_snapshot_shows(&step->to.snapshot, xid);
}

/* A row with an id of before the moment and a transaction of after it was not written here. */
static bool
is_foreign(const SmemStep *step, int64_t id, uint64_t xid)
{
	return id <= step->to.high && xid >= step->to.next_xid && smem_moment_is_zero(&step->from);
}

static void
add_late(SmemStep *step, uint64_t xid, int *size)
{
	if (!is_new(step, xid))
		return;
	if (step->nlate == *size)
	{
		*size *= 2;
		step->late = repalloc(step->late, sizeof(uint64) * *size);
	}
	step->late[step->nlate++] = xid;
}

/*
 * Transactions between the newest one that had ended at the first moment and
 * the next one to be handed out then: all were in progress, and the snapshot
 * does not list them.  Found in the index, so that a million savepoints in
 * between cost nothing.
 */
static void
add_unlisted(SmemStep *step, int *size)
{
	static SmemQuery query = {
		"WITH RECURSIVE late AS ("
		" (SELECT xid FROM somamem.outbox WHERE xid >= $1 AND xid < $2 ORDER BY xid LIMIT 1)"
		" UNION ALL"
		" SELECT (SELECT o.xid FROM somamem.outbox o WHERE o.xid > late.xid AND o.xid < $2 ORDER BY o.xid LIMIT 1)"
		" FROM late WHERE late.xid IS NOT NULL)"
		" SELECT xid FROM late WHERE xid IS NOT NULL",
		2,
		{XID8OID, XID8OID}};
	Datum args[2] = {UInt64GetDatum(step->from.snapshot.xmax), UInt64GetDatum(step->from.next_xid)};
	uint64 found;

	if (step->from.next_xid <= step->from.snapshot.xmax)
		return;
	found = smem_query(&query, args, NULL, 0);
	for (uint64 i = 0; i < found; i++)
	{
		bool isnull;

		add_late(
			step,
			DatumGetUInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
			size);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Rows of another server's log came before all of our own.  Asked once: a process does not outlive a restore. */
static bool
has_foreign_log(SmemSink sink)
{
	static SmemQuery query = {
		"SELECT 1 FROM (SELECT system_identifier FROM somamem.shipment WHERE sink = $1 ORDER BY id LIMIT 1) AS s"
		" WHERE system_identifier <> $2",
		2,
		{TEXTOID, INT8OID}};
	static bool asked = false;
	static bool foreign;
	Datum		args[2] = {CStringGetTextDatum(smem_sink_name(sink)),
						   Int64GetDatum((int64) GetSystemIdentifier())};

	if (!asked)
		foreign = smem_query(&query, args, NULL, 1) > 0;
	asked = true;
	return foreign;
}

void
smem_step_begin(SmemStep *step, SmemSink sink, int64_t after_id)
{
	int size = step->from.snapshot.nxip + 8;

	step->nlate = 0;
	step->late = palloc(sizeof(uint64) * size);
	for (int i = 0; i < step->from.snapshot.nxip; i++)
		add_late(step, step->from.snapshot.xip[i], &size);
	add_unlisted(step, &size);
	step->top = smem_last_id();
	step->read_id = after_id;
	step->all_read = false;
	step->foreign_log = has_foreign_log(sink);
	step->restored = step->foreign_log && smem_moment_is_zero(&step->from);
}

void
smem_step_free(SmemStep *step)
{
	smem_moment_free(&step->from);
	smem_moment_free(&step->to);
	if (step->late != NULL)
		pfree(step->late);
	step->late = NULL;
	step->nlate = 0;
}

void
smem_step_copy(SmemStep *to, const SmemStep *from)
{
	*to = *from;
	smem_moment_copy(&to->from, &from->from);
	smem_moment_copy(&to->to, &from->to);
	to->late = palloc(sizeof(uint64) * (from->nlate + 1));
	memcpy(to->late, from->late, sizeof(uint64) * from->nlate);
}

#define FILTERED(only, except)                                                                     \
	" AND (" only "::text IS NULL OR o.tenant = " only ") AND (" except                            \
	"::text[] IS NULL OR o.tenant <> ALL (" except "))"

/* Fills in the two arguments of FILTERED. */
static void
put_filter(const SmemFilter *filter, Datum *args, char *nulls)
{
	Datum *names = palloc(sizeof(Datum) * (filter->nexcept + 1));

	nulls[0] = filter->only == NULL ? 'n' : ' ';
	nulls[1] = filter->nexcept == 0 ? 'n' : ' ';
	if (filter->only != NULL)
		args[0] = CStringGetTextDatum(filter->only);
	for (int i = 0; i < filter->nexcept; i++)
		names[i] = CStringGetTextDatum(filter->except[i]);
	if (filter->nexcept > 0)
		args[1] = PointerGetDatum(
			construct_array(names, filter->nexcept, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Leaves out what the log, or what stands beside it, accounts for. */
#define UNACCOUNTED(sink)                                                                          \
	" AND NOT EXISTS (SELECT 1 FROM somamem.shipment s WHERE s.sink = " sink                       \
	"  AND s.first_id IS NOT NULL AND pg_catalog.int8range(s.first_id, s.last_id, '[]') @> o.id"   \
	"  AND o.id = ANY (s.ids))"                                                                    \
	" AND NOT EXISTS (SELECT 1 FROM somamem.parked p WHERE p.sink = " sink " AND p.id = o.id)"     \
	" AND NOT EXISTS (SELECT 1 FROM somamem.dead_letter d WHERE d.sink = " sink                    \
	" AND d.id = o.id)"                                                                            \
	" AND NOT EXISTS (SELECT 1 FROM somamem.withdrawn w WHERE w.id = o.id AND w.sink IN (" sink    \
	", '*'))"

#define LATE_ROWS(more)                                                                            \
	"SELECT o.* FROM pg_catalog.unnest($1::xid8[]) AS late (xid) CROSS JOIN LATERAL"               \
	" (SELECT " SMEM_ROW_COLUMNS                                                                   \
	" FROM somamem.outbox o WHERE o.xid = late.xid AND o.id > $2 AND o.id <= $3" more              \
	" ORDER BY o.xid, o.id LIMIT $4) o ORDER BY o.id LIMIT $4"

/*
 * Rows of the late transactions among the ids that the earlier step passed.
 * Ids above those are found by id.  A row that was restored from another
 * server may have the number of a transaction of this one, too.
 */
static uint64
query_late(SmemStep *step, SmemSink sink, const SmemFilter *filter, int64 upto, int limit)
{
	static SmemQuery plain = {LATE_ROWS(FILTERED("$5", "$6")),
							  6,
							  {XID8ARRAYOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTARRAYOID}};
	static SmemQuery beside_foreign = {
		LATE_ROWS(FILTERED("$5", "$6") UNACCOUNTED("$7")),
		7,
		{XID8ARRAYOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTARRAYOID, TEXTOID}};
	Datum *xids = palloc(sizeof(Datum) * (step->nlate + 1));
	Datum  args[7] = {0};
	char   nulls[8] = "       ";

	for (int i = 0; i < step->nlate; i++)
		xids[i] = UInt64GetDatum(step->late[i]);
	args[0] = PointerGetDatum(
		construct_array(xids, step->nlate, XID8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	args[1] = Int64GetDatum(step->read_id);
	args[2] = Int64GetDatum(upto);
	args[3] = Int64GetDatum(limit);
	put_filter(filter, args + 4, nulls + 4);
	args[6] = CStringGetTextDatum(smem_sink_name(sink));
	return smem_query(step->foreign_log ? &beside_foreign : &plain, args, nulls, 0);
}

static uint64
query_new(SmemStep *step, const SmemFilter *filter, int64 upto, int limit)
{
	static SmemQuery query = {"SELECT " SMEM_ROW_COLUMNS
							  " FROM somamem.outbox o WHERE o.id > $1 AND o.id <= $2" FILTERED(
								  "$4", "$5") " ORDER BY o.id LIMIT $3",
							  5,
							  {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTARRAYOID}};
	Datum args[5] = {Int64GetDatum(step->read_id), Int64GetDatum(upto), Int64GetDatum(limit)};
	char  nulls[6] = "     ";

	put_filter(filter, args + 3, nulls + 3);
	return smem_query(&query, args, nulls, 0);
}

/*
 * As query_new, without what the log of another server accounts for.  Reads
 * no further than upto, so that a long log takes many short transactions.
 */
static uint64
query_restored(SmemStep *step, SmemSink sink, const SmemFilter *filter, int64 upto, int limit)
{
	static SmemQuery query = {"SELECT " SMEM_ROW_COLUMNS
							  " FROM somamem.outbox o WHERE o.id > $1 AND o.id <= $2" UNACCOUNTED(
								  "$4") FILTERED("$5", "$6") " ORDER BY o.id LIMIT $3",
							  6,
							  {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID}};
	Datum args[6] = {Int64GetDatum(step->read_id), Int64GetDatum(upto), Int64GetDatum(limit),
					 CStringGetTextDatum(smem_sink_name(sink))};
	char  nulls[7] = "      ";

	put_filter(filter, args + 4, nulls + 4);
	return smem_query(&query, args, nulls, 0);
}

/* Visits what a query found.  Returns false when the visitor had enough. */
static bool
visit_rows(SmemStep *step, SmemSink sink, uint64 found, SmemRowVisitor visit, void *arg)
{
	SPITupleTable *table = SPI_tuptable;
	MemoryContext  row_context =
		AllocSetContextCreate(CurrentMemoryContext, "somamem row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(row_context);
	bool		  more = true;

	for (uint64 i = 0; i < found && more; i++)
	{
		SmemOutboxRow row;
		uint64_t	  xid = smem_row_xid(table, i);

		MemoryContextReset(row_context);

		if (step != NULL && !is_new(step, xid) && !is_foreign(step, smem_row_id(table, i), xid))
		{
			step->read_id = smem_row_id(table, i);
			continue;
		}
		smem_row_decode(table, i, sink, &row);
		if (step != NULL)
			step->read_id = row.row.id;
		more = visit(&row, arg);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(row_context);
	SPI_freetuptable(table);
	return more;
}

/* How far one call reads: all of it, unless rows are passed over on the way. */
static int64
stretch(const SmemStep *step, const SmemFilter *filter, int64 end)
{
	if (!step->restored && filter->only == NULL && filter->nexcept == 0)
		return end;
	return Min(end, step->read_id + STRETCH);
}

void
smem_step_read(SmemStep *step, SmemSink sink, const SmemFilter *filter, int max_rows,
			   SmemRowVisitor visit, void *arg)
{
	int64  upto;
	uint64 found;

	if (step->read_id < step->from.high && step->nlate > 0)
	{
		upto = stretch(step, filter, step->from.high);
		found = query_late(step, sink, filter, upto, max_rows);
		if (!visit_rows(step, sink, found, visit, arg) || found >= (uint64) max_rows)
			return;
		max_rows -= (int) found;
		step->read_id = upto;
		if (upto < step->from.high)
			return;
	}
	step->read_id = Max(step->read_id, step->from.high);
	if (step->read_id < step->top)
	{
		upto = stretch(step, filter, step->top);
		found = step->restored ? query_restored(step, sink, filter, upto, max_rows)
							   : query_new(step, filter, upto, max_rows);
		if (!visit_rows(step, sink, found, visit, arg) || found >= (uint64) max_rows)
			return;
		step->read_id = upto;
	}
	step->all_read = step->read_id >= step->top;
}

void
smem_rows_by_id(SmemSink sink, const int64_t *ids, int n, SmemRowVisitor visit, void *arg)
{
	static SmemQuery query = {"SELECT " SMEM_ROW_COLUMNS
							  " FROM somamem.outbox o WHERE o.id = ANY ($1)"
							  " AND o.xid <> " SMEM_XID_COPY_SQL " ORDER BY o.id",
							  1,
							  {INT8ARRAYOID}};
	Datum			*elements = palloc(sizeof(Datum) * (n + 1));
	Datum			 args[1];
	uint64			 found;

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	args[0] =
		PointerGetDatum(construct_array(elements, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	found = smem_query(&query, args, NULL, 0);
	visit_rows(NULL, sink, found, visit, arg);
}
