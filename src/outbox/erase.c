#include "postgres.h"

#include "outbox/erase.h"

#include "catalog/heap.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "outbox/snapshot.h"
#include "pg/catalog.h"
#include "pg/latest.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define FEW_ROWS 1000

typedef struct TenantTable
{
	char *name;
	Oid	  oid;
	bool  receipts; /* arrays parallel to ids, not rows of its own */
} TenantTable;

static TenantTable *
list_tables(int *n)
{
	TenantTable *tables;

	*n = (int) smem_latest_query("SELECT t.relation, t.holds FROM somamem._tenant_tables() AS t", 0,
								 NULL, NULL, NULL);
	tables = palloc(sizeof(TenantTable) * (*n + 1));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		tables[i].name = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1);
		tables[i].oid = smem_relation_oid(tables[i].name);
		tables[i].receipts = strcmp(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2), "receipts") == 0;
	}
	return tables;
}

/* What erases rows of the table, as a statement's beginning; NULL where it has none of a single session. */
static char *
deletion(TenantTable *table, bool of_session)
{
	bool has_session = get_attnum(table->oid, "session_id") != InvalidAttrNumber;

	/* What names the tenant alone is not one session's. */
	if (of_session && !has_session)
		return NULL;
	return psprintf("DELETE FROM somamem.%s AS t WHERE t.tenant = $1 AND ($2 IS NULL OR %s)",
					quote_identifier(table->name), has_session ? "t.session_id = $2" : "true");
}

/*
 * Rows go, and their ids are noted.  All of one call have one time: the mark
 * by which it finds their receipts.  The id of a copy is another server's.
 */
static int64
erase_rows(TenantTable *table, text *tenant, text *session, TimestampTz mark)
{
	Oid	  types[3] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum args[3] = {PointerGetDatum(tenant), PointerGetDatum(session), TimestampTzGetDatum(mark)};
	bool  has_xid = get_attnum(table->oid, "xid") != InvalidAttrNumber;
	const char *nulls = session != NULL ? "   " : " n ";
	char *delete = deletion(table, session != NULL);

	if (delete == NULL)
		return 0;
	if (get_attnum(table->oid, "id") == InvalidAttrNumber)
	{
		smem_latest_query(delete, 2, types, args, nulls);
		return 0;
	}
	smem_latest_query(
		psprintf("WITH gone AS (%s RETURNING t.id, %s AS copy),"
				 " noted AS (INSERT INTO somamem.withdrawn (id, sink, state, withdrawn_at)"
				 "  SELECT DISTINCT g.id, '*', 'erased', $3 FROM gone g WHERE NOT g.copy"
				 "  ON CONFLICT (id, sink) DO NOTHING RETURNING id)"
				 " SELECT (SELECT pg_catalog.count(*) FROM noted) + pg_catalog.count(*)"
				 " FROM gone g WHERE g.copy",
				 delete, has_xid ? "t.xid = " SMEM_XID_COPY_SQL : "false"),
		3, types, args, nulls);
	return smem_latest_number(1);
}

/* Pages with rows of this mark: looked up row by row, which for many takes longer than to read the whole log. */
static char *
pages_of(const char *name, int64 rows)
{
	if (rows <= FEW_ROWS)
		return psprintf("SELECT h.sink, h.id FROM somamem.withdrawn w JOIN somamem.%s h"
						" ON pg_catalog.int8range(h.first_id, h.last_id, '[]') @> w.id"
						" AND w.id = ANY (h.ids) WHERE h.first_id IS NOT NULL"
						" AND w.sink = '*' AND w.withdrawn_at = $1",
						name);
	return psprintf("SELECT h.sink, h.id FROM somamem.%s h"
					" CROSS JOIN LATERAL pg_catalog.unnest(h.ids) AS i (id)"
					" JOIN somamem.withdrawn w ON w.id = i.id"
					" WHERE w.sink = '*' AND w.withdrawn_at = $1",
					name);
}

/* Receipts of the rows with this mark become null; all others keep their text. */
static void
erase_receipts(TenantTable *table, TimestampTz mark, int64 rows)
{
	const char *name = quote_identifier(table->name);
	Oid			types[1] = {TIMESTAMPTZOID};
	Datum		args[1] = {TimestampTzGetDatum(mark)};
	char	   *query;

	query = psprintf("UPDATE somamem.%s s SET receipts = (SELECT '[' || pg_catalog.string_agg("
					 "  CASE WHEN EXISTS (SELECT 1 FROM somamem.withdrawn w"
					 "   WHERE w.id = r.id AND w.sink = '*') THEN 'null' ELSE r.receipt::text END,"
					 "  ',' ORDER BY r.n) || ']'"
					 "  FROM ROWS FROM (pg_catalog.unnest(s.ids),"
					 "   pg_catalog.json_array_elements(s.receipts::json))"
					 "   WITH ORDINALITY AS r (id, receipt, n))"
					 " WHERE s.receipts IS NOT NULL AND (s.sink, s.id) IN (%s)",
					 name, pages_of(name, rows));
	smem_latest_query(query, 1, types, args, NULL);
}

/* Column statistics quote the commonest values.  The lock keeps ANALYZE from collecting them again meanwhile. */
static void
erase_statistics(Oid oid)
{
	ListCell *lc;

	foreach (lc, find_all_inheritors(oid, ShareUpdateExclusiveLock, NULL))
		RemoveStatistics(lfirst_oid(lc), 0);
}

int64
smem_erase(text *tenant, text *session)
{
	TimestampTz	 mark = GetCurrentTimestamp();
	int			 n;
	TenantTable *tables = list_tables(&n);
	int64		 rows = 0;

	for (int i = 0; i < n; i++)
	{
		LockRelationOid(tables[i].oid, ShareUpdateExclusiveLock);
		if (!tables[i].receipts)
			rows += erase_rows(&tables[i], tenant, session, mark);
	}
	for (int i = 0; i < n; i++)
	{
		if (tables[i].receipts)
			erase_receipts(&tables[i], mark, rows);
		erase_statistics(tables[i].oid);
	}
	return rows;
}
