#include "postgres.h"

#include "worker/held.h"

#include "catalog/pg_type.h"
#include "outbox/park.h"
#include "outbox/snapshot.h"
#include "pg/query.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* How many rows are counted one by one before the difference of ids is trusted. */
#define COUNT_LIMIT "100000"

HTAB *
smem_held_make(MemoryContext context)
{
	HASHCTL info = {
		.keysize = sizeof(((SmemHeld *) 0)->name), .entrysize = sizeof(SmemHeld), .hcxt = context};

	return hash_create("somamem held", 256, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

void
smem_held_add(HTAB *held, const char *tenant, int64 rows, TimestampTz oldest)
{
	bool	  found;
	SmemHeld *one = hash_search(held, tenant, HASH_ENTER, &found);

	if (!found)
	{
		one->rows = 0;
		one->oldest = 0;
	}
	one->rows += rows;
	if (oldest != 0 && (one->oldest == 0 || oldest < one->oldest))
		one->oldest = oldest;
}

int64
smem_held_outbox(HTAB *held, const SmemPosition *position)
{
	static SmemQuery query = {
		"SELECT tenant, count(*) FROM (SELECT tenant FROM somamem.outbox WHERE id > $1"
		" AND xid <> " SMEM_XID_COPY_SQL " LIMIT " COUNT_LIMIT ") AS few GROUP BY tenant",
		1,
		{INT8OID}};
	int64  after = Max(position->from.high, position->after_id);
	Datum  args[1] = {Int64GetDatum(after)};
	uint64 n = smem_query(&query, args, NULL, 0);
	int64  counted = 0;

	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		bool	  isnull;
		int64	  rows = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));

		smem_held_add(held, SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), rows, 0);
		counted += rows;
	}
	return counted < strtol(COUNT_LIMIT, NULL, 10) ? counted : Max(counted, smem_last_id() - after);
}

/* What of a detour's rows lies between its position and the main one's; counted where they are not too far apart. */
static int64
count_detour(SmemStream *st, int64 main_after)
{
	static SmemQuery query = {
		"SELECT count(*) FROM somamem.outbox WHERE tenant = $1 AND id > $2 AND id <= $3",
		3,
		{TEXTOID, INT8OID, INT8OID}};
	int64 after = st->nsteps > 0 ? smem_stream_newest(st)->step.read_id : st->from.high;
	Datum args[3] = {CStringGetTextDatum(st->tenant), Int64GetDatum(after),
					 Int64GetDatum(main_after)};
	bool  isnull;

	if (main_after - after > strtol(COUNT_LIMIT, NULL, 10))
		return main_after - after;
	smem_query(&query, args, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

int64
smem_held_detours(SmemShipper *sh, HTAB *held, const SmemPosition *position)
{
	int64 n = 0;

	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		int64 rows;

		if (sh->stream[i].tenant == NULL)
			continue;
		rows = count_detour(&sh->stream[i], Max(position->from.high, position->after_id));
		smem_held_add(held, sh->stream[i].tenant, rows, 0);
		n += rows;
	}
	return n;
}

int64
smem_held_parked(SmemShipper *sh, HTAB *held)
{
	SmemParkedTenant *tenants;
	int				  n = smem_park_tenants(sh->sink, &tenants);
	int64			  rows = 0;

	for (int i = 0; i < n; i++)
	{
		smem_held_add(held, tenants[i].tenant, tenants[i].rows, tenants[i].oldest);
		rows += tenants[i].rows;
	}
	return rows;
}

TimestampTz
smem_held_oldest(const SmemPosition *position)
{
	static SmemQuery query = {
		"SELECT created_at FROM somamem.outbox WHERE id > $1 AND xid <> " SMEM_XID_COPY_SQL
		" ORDER BY id LIMIT 1",
		1,
		{INT8OID}};
	Datum args[1] = {Int64GetDatum(Max(position->from.high, position->after_id))};
	bool  isnull;

	if (smem_query(&query, args, NULL, 1) == 0)
		return 0;
	return DatumGetTimestampTz(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
