#include "postgres.h"

#include "outbox/detour.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "pg/query.h"
#include "utils/builtins.h"

static Datum
sink_datum(SmemSink sink)
{
	return CStringGetTextDatum(smem_sink_name(sink));
}

static void
forget_foreign(SmemSink sink)
{
	static SmemQuery query = {
		"DELETE FROM somamem.detour WHERE sink = $1 AND system_identifier <> $2",
		2,
		{TEXTOID, INT8OID}};
	Datum args[2] = {sink_datum(sink), Int64GetDatum((int64) GetSystemIdentifier())};

	smem_query(&query, args, NULL, 0);
}

static bool
read_moment(HeapTuple tuple, int column, SmemMoment *moment)
{
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool	  isnull;
	char	 *text = SPI_getvalue(tuple, desc, column);

	if (text == NULL)
		return false;
	smem_snapshot_parse(text, &moment->snapshot);
	moment->high = DatumGetInt64(SPI_getbinval(tuple, desc, column + 1, &isnull));
	moment->next_xid = DatumGetUInt64(SPI_getbinval(tuple, desc, column + 2, &isnull));
	return true;
}

int
smem_detours_load(SmemSink sink, SmemDetour **detours)
{
	static SmemQuery query = {
		"SELECT number, tenant, from_snapshot, from_high, from_next_xid, to_snapshot, to_high, to_next_xid,"
		" after_id, until_snapshot, until_high, until_next_xid"
		" FROM somamem.detour WHERE sink = $1 ORDER BY number",
		1,
		{TEXTOID}};
	Datum args[1] = {sink_datum(sink)};
	int	  n;

	forget_foreign(sink);
	n = (int) smem_query(&query, args, NULL, 0);
	*detours = palloc0(sizeof(SmemDetour) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		SmemDetour *detour = &(*detours)[i];
		bool		isnull;

		detour->number = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		detour->tenant = SPI_getvalue(tuple, desc, 2);
		(void) read_moment(tuple, 3, &detour->position.from);
		detour->position.in_step = read_moment(tuple, 6, &detour->position.to);
		if (detour->position.in_step)
			detour->position.after_id = DatumGetInt64(SPI_getbinval(tuple, desc, 9, &isnull));
		detour->closed = read_moment(tuple, 10, &detour->until);
	}
	return n;
}

static void
put_moment(const SmemMoment *moment, Datum *args, char *nulls)
{
	memset(nulls, moment == NULL ? 'n' : ' ', 3);
	if (moment == NULL)
		return;
	args[0] = CStringGetTextDatum(smem_snapshot_text(&moment->snapshot));
	args[1] = Int64GetDatum(moment->high);
	args[2] = UInt64GetDatum(moment->next_xid);
}

void
smem_detour_record(SmemSink sink, const SmemDetour *detour)
{
	static SmemQuery query = {
		"INSERT INTO somamem.detour AS d (sink, number, tenant, system_identifier, from_snapshot, from_high,"
		" from_next_xid, to_snapshot, to_high, to_next_xid, after_id, until_snapshot, until_high, until_next_xid)"
		" VALUES ($1, $2, $3, $4, $5::pg_snapshot, $6, $7, $8::pg_snapshot, $9, $10, $11, $12::pg_snapshot, $13, $14)"
		" ON CONFLICT (sink, number) DO UPDATE SET from_snapshot = excluded.from_snapshot,"
		" from_high = excluded.from_high, from_next_xid = excluded.from_next_xid,"
		" to_snapshot = excluded.to_snapshot, to_high = excluded.to_high, to_next_xid = excluded.to_next_xid,"
		" after_id = excluded.after_id, until_snapshot = excluded.until_snapshot,"
		" until_high = excluded.until_high, until_next_xid = excluded.until_next_xid",
		14,
		{TEXTOID, INT8OID, TEXTOID, INT8OID, TEXTOID, INT8OID, XID8OID, TEXTOID, INT8OID, XID8OID,
		 INT8OID, TEXTOID, INT8OID, XID8OID}};
	const SmemPosition *position = &detour->position;
	Datum				args[14] = {0};
	char				nulls[15] = "              ";

	args[0] = sink_datum(sink);
	args[1] = Int64GetDatum(detour->number);
	args[2] = CStringGetTextDatum(detour->tenant);
	args[3] = Int64GetDatum((int64) GetSystemIdentifier());
	put_moment(&position->from, args + 4, nulls + 4);
	put_moment(position->in_step ? &position->to : NULL, args + 7, nulls + 7);
	args[10] = Int64GetDatum(position->in_step ? position->after_id : 0);
	put_moment(detour->closed ? &detour->until : NULL, args + 11, nulls + 11);
	smem_query(&query, args, nulls, 0);
}

void
smem_detour_forget(SmemSink sink, int64_t number)
{
	static SmemQuery query = {
		"DELETE FROM somamem.detour WHERE sink = $1 AND number = $2", 2, {TEXTOID, INT8OID}};
	Datum args[2] = {sink_datum(sink), Int64GetDatum(number)};

	smem_query(&query, args, NULL, 0);
}
