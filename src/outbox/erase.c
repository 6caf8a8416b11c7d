#include "postgres.h"

#include "outbox/erase.h"

#include "catalog/heap.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "core/owner.h"
#include "miscadmin.h"
#include "outbox/row.h"
#include "outbox/snapshot.h"
#include "pg/catalog.h"
#include "pg/latest.h"
#include "pg/owed.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

typedef struct TenantTable
{
	char *name;
	Oid	  oid;
	bool  receipts; /* arrays parallel to owners, not rows of its own */
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

/* Rows go, and their ids are noted, but for those of copies, which are another server's. */
static int64
erase_rows(TenantTable *table, text *tenant, text *session)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		args[2] = {PointerGetDatum(tenant), PointerGetDatum(session)};
	bool		has_xid = get_attnum(table->oid, "xid") != InvalidAttrNumber;
	const char *nulls = session != NULL ? "  " : " n";
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
				 " noted AS (INSERT INTO somamem.withdrawn (id, sink, state)"
				 "  SELECT DISTINCT g.id, '*', 'erased' FROM gone g WHERE NOT g.copy"
				 "  ON CONFLICT (id, sink) DO NOTHING RETURNING id)"
				 " SELECT (SELECT pg_catalog.count(*) FROM noted) + pg_catalog.count(*)"
				 " FROM gone g WHERE g.copy",
				 delete, has_xid ? "t.xid = " SMEM_XID_COPY_SQL : "false"),
		2, types, args, nulls);
	return smem_latest_number(1);
}

/* No stream will meet these rows any more, and so none would take them out. */
static void
forget_ahead(void)
{
	smem_latest_query("DELETE FROM somamem.ahead a USING somamem.withdrawn w"
					  " WHERE w.id = a.id AND w.sink = '*'",
					  0, NULL, NULL, NULL);
}

static SmemStr
utf8(text *value)
{
	SmemOutboxRow scratch = {0};
	SmemStr		  absent = {NULL, 0};

	if (value == NULL)
		return absent;
	return smem_row_utf8(text_to_cstring(value), VARSIZE_ANY_EXHDR(value), &scratch);
}

/*
 * Receipts of the owner become null, also where the row itself is long gone;
 * all others keep their text.  What has the same hash by chance loses its
 * receipts, too: one tenant in four thousand million, and no row is lost.
 */
static void
erase_receipts(TenantTable *table, text *tenant, text *session)
{
	uint64 mask = session != NULL ? SMEM_OWNER_SESSION : SMEM_OWNER_TENANT;
	uint64 owner = smem_owner(utf8(tenant), utf8(session)) & mask;
	Oid	   types[2] = {INT8OID, INT8OID};
	Datum  args[2] = {Int64GetDatum((int64) mask), Int64GetDatum((int64) owner)};

	smem_latest_query(
		psprintf(
			"UPDATE somamem.%s s SET (receipts, owners) = (SELECT '[' || pg_catalog.string_agg("
			"   CASE WHEN r.owner & $1 = $2 THEN 'null' ELSE r.receipt::text END, ',' ORDER BY r.n)"
			"   || ']', pg_catalog.array_agg(CASE WHEN r.owner & $1 = $2 THEN 0 ELSE r.owner END"
			"   ORDER BY r.n)"
			"  FROM ROWS FROM (pg_catalog.unnest(s.owners),"
			"   pg_catalog.json_array_elements(s.receipts::json))"
			"   WITH ORDINALITY AS r (owner, receipt, n))"
			" WHERE s.receipts IS NOT NULL AND somamem._owns(s.owners, $1, $2)",
			quote_identifier(table->name)),
		2, types, args, NULL);
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
	int			 n;
	TenantTable *tables = list_tables(&n);
	int64		 rows = 0;

	for (int i = 0; i < n; i++)
	{
		LockRelationOid(tables[i].oid, ShareUpdateExclusiveLock);
		if (!tables[i].receipts)
			rows += erase_rows(&tables[i], tenant, session);
	}
	forget_ahead();
	for (int i = 0; i < n; i++)
	{
		if (tables[i].receipts)
			erase_receipts(&tables[i], tenant, session);
		erase_statistics(tables[i].oid);
	}
	if (session == NULL)
		smem_owed_forget(MyDatabaseId, (SmemStr){VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant)});
	return rows;
}
