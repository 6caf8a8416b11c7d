#include "postgres.h"

#include "outbox/ring.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "pg/catalog.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "pg/shmem.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum
{
	ATT_SEGMENT = 1,
	ATT_OPENED_AT,
	ATT_SEALED_AT,
	ATT_DELIVERED_AT
};

/* A segment is sealed after this part of the retention, so that the ring holds it whole and one to spare. */
#define TURNS_PER_RETENTION 6

/* Reads the table somamem.segment: the one opened last and not sealed. */
static int
read_current(void)
{
	Relation		rel = table_open(smem_relation_oid("segment"), AccessShareLock);
	Snapshot		snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc	scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TimestampTz		newest = 0;
	int				current = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		null_opened;
		bool		null_sealed;
		bool		isnull;
		TimestampTz opened = DatumGetTimestampTz(slot_getattr(slot, ATT_OPENED_AT, &null_opened));

		(void) slot_getattr(slot, ATT_SEALED_AT, &null_sealed);
		if (null_opened || !null_sealed || (newest != 0 && opened <= newest))
			continue;
		newest = opened;
		current = DatumGetInt16(slot_getattr(slot, ATT_SEGMENT, &isnull));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return current;
}

int
smem_ring_current(void)
{
	SmemDatabaseSlot *db = smem_my_database();
	uint32			  known = db ? pg_atomic_read_u32(&db->segment) : 0;
	int				  current;

	if (known != 0)
		return (int) known - 1;
	current = read_current();
	if (db != NULL)
		pg_atomic_write_u32(&db->segment, (uint32) current + 1);
	return current;
}

static int64
one_number(SmemQuery *query, Datum *args, bool *found)
{
	bool  isnull = true;
	Datum value = 0;

	if (smem_query(query, args, NULL, 1) > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*found = !isnull;
	return isnull ? 0 : DatumGetInt64(value);
}

/* Whether the current segment is due to be sealed: old enough, not empty, and the next one free. */
static bool
turn_is_due(int current, int next)
{
	static SmemQuery query = {
		"SELECT 1::bigint FROM somamem.segment c, somamem.segment n WHERE c.segment = $1 AND n.segment = $2"
		" AND n.opened_at IS NULL AND c.opened_at < pg_catalog.clock_timestamp() - $3 * interval '1 second'"
		" AND EXISTS (SELECT 1 FROM somamem.outbox o WHERE o.segment = $1)",
		3,
		{INT2OID, INT2OID, FLOAT8OID}};
	Datum args[3] = {Int16GetDatum(current), Int16GetDatum(next),
					 Float8GetDatum((double) smem_guc_retention_s / TURNS_PER_RETENTION)};
	bool  found;

	(void) one_number(&query, args, &found);
	return found;
}

static void
turn(void)
{
	static SmemQuery seal = {
		"UPDATE somamem.segment SET sealed_at = pg_catalog.clock_timestamp() WHERE segment = $1",
		1,
		{INT2OID}};
	static SmemQuery open = {
		"UPDATE somamem.segment SET opened_at = pg_catalog.clock_timestamp() WHERE segment = $1",
		1,
		{INT2OID}};
	SmemDatabaseSlot *db = smem_my_database();
	int				  current;
	int				  next;
	Datum			  args[1];
	bool			  turned;

	if (!smem_begin("turning the ring of segments"))
		return;
	current = read_current();
	next = (current + 1) % SMEM_SEGMENTS;
	turned = turn_is_due(current, next);
	if (turned)
	{
		args[0] = Int16GetDatum(current);
		smem_query(&seal, args, NULL, 0);
		args[0] = Int16GetDatum(next);
		smem_query(&open, args, NULL, 0);
	}
	smem_commit();
	if (turned && db != NULL)
		pg_atomic_write_u32(&db->segment, (uint32) next + 1);
}

/*
 * Whether the sink has every row of the segment behind it: the transactions
 * of all were over at its recorded position, and at that of every tenant on a
 * detour.  Rows of one segment may have
 * been written while it was no longer current, so they are looked for by
 * transaction.  One that is newer than the position though its id is not was
 * written on another server, and settled by the step that made the position.
 */
static bool
sink_is_behind(int segment, SmemSink sink)
{
	static SmemQuery query = {
		"SELECT 1::bigint FROM (SELECT system_identifier, pg_catalog.pg_snapshot_xmin(from_snapshot) AS xmin,"
		"  from_high, from_next_xid FROM somamem.shipment WHERE sink = $2 ORDER BY id DESC LIMIT 1) AS p"
		" WHERE p.system_identifier = $3 AND NOT EXISTS (SELECT 1 FROM somamem.outbox o WHERE o.segment = $1"
		"  AND o.xid >= p.xmin AND (o.xid < p.from_next_xid OR o.id > p.from_high))"
		" AND NOT EXISTS (SELECT 1 FROM somamem.detour d WHERE d.sink = $2 AND EXISTS"
		"  (SELECT 1 FROM somamem.outbox o WHERE o.segment = $1"
		"   AND o.xid >= pg_catalog.pg_snapshot_xmin(d.from_snapshot)"
		"   AND (o.xid < d.from_next_xid OR o.id > d.from_high)))",
		3,
		{INT2OID, TEXTOID, INT8OID}};
	Datum args[3] = {Int16GetDatum(segment), CStringGetTextDatum(smem_sink_name(sink)),
					 Int64GetDatum((int64) GetSystemIdentifier())};
	bool  found;

	(void) one_number(&query, args, &found);
	return found;
}

/* Whether every enabled sink has every row of the segment behind it, and none waits in the parking place. */
static bool
segment_is_delivered(int segment)
{
	static SmemQuery any = {
		"SELECT 1::bigint FROM somamem.outbox WHERE segment = $1 LIMIT 1", 1, {INT2OID}};
	static SmemQuery parked = {
		"SELECT 1::bigint FROM somamem.parked p WHERE EXISTS"
		" (SELECT 1 FROM somamem.outbox o WHERE o.segment = $1 AND o.id = p.id) LIMIT 1",
		1,
		{INT2OID}};
	Datum args[1] = {Int16GetDatum(segment)};
	bool  found;

	(void) one_number(&any, args, &found);
	if (!found)
		return true;
	for (int sink = 0; sink < SMEM_SINKS; sink++)
	{
		if (smem_sink_enabled(sink) && !sink_is_behind(segment, sink))
			return false;
	}
	(void) one_number(&parked, args, &found);
	return !found;
}

static void
mark_delivered(int segment)
{
	static SmemQuery query = {
		"UPDATE somamem.segment SET delivered_at = pg_catalog.clock_timestamp() WHERE segment = $1",
		1,
		{INT2OID}};
	Datum args[1] = {Int16GetDatum(segment)};

	smem_query(&query, args, NULL, 0);
}

/* Empties the segment if nobody is using it at this moment; never waits. */
static void
empty(int segment)
{
	static SmemQuery truncate[SMEM_SEGMENTS];
	static char		 sql[SMEM_SEGMENTS][64];
	static SmemQuery reset = {
		"UPDATE somamem.segment SET opened_at = NULL, sealed_at = NULL, delivered_at = NULL WHERE segment = $1",
		1,
		{INT2OID}};
	Datum args[1] = {Int16GetDatum(segment)};

	if (!ConditionalLockRelationOid(smem_segment_oid(segment), AccessExclusiveLock))
		return;
	/* The lock keeps writers out, and a writer that came late is seen now. */
	if (!segment_is_delivered(segment))
		return;
	if (truncate[segment].sql == NULL)
	{
		snprintf(sql[segment], sizeof(sql[segment]), "TRUNCATE somamem.outbox_%d", segment);
		truncate[segment].sql = sql[segment];
	}
	smem_query(&truncate[segment], NULL, NULL, 0);
	smem_query(&reset, args, NULL, 0);
}

enum
{
	NOTHING,
	WAITS,
	RIPE
};

/* What is to be done with a segment that is not the current one. */
static int
segment_stage(int segment)
{
	static SmemQuery query = {
		"SELECT CASE WHEN sealed_at IS NULL THEN 0 WHEN delivered_at IS NULL THEN 1"
		" WHEN delivered_at < pg_catalog.clock_timestamp() - $2 * interval '1 second' THEN 2 ELSE 0 END::bigint"
		" FROM somamem.segment WHERE segment = $1",
		2,
		{INT2OID, FLOAT8OID}};
	Datum args[2] = {Int16GetDatum(segment), Float8GetDatum((double) smem_guc_retention_s)};
	bool  found;

	return (int) one_number(&query, args, &found);
}

void
smem_ring_maintain(void)
{
	turn();
	for (int segment = 0; segment < SMEM_SEGMENTS; segment++)
	{
		int stage;

		if (!smem_begin("emptying delivered segments"))
			return;
		stage = segment_stage(segment);
		if (stage == WAITS && segment_is_delivered(segment))
			mark_delivered(segment);
		else if (stage == RIPE)
			empty(segment);
		smem_commit();
	}
}

bool
smem_ring_waits(void)
{
	static SmemQuery query = {
		"SELECT 1::bigint FROM somamem.segment WHERE sealed_at IS NOT NULL AND delivered_at IS NULL LIMIT 1"};
	bool found = false;

	if (smem_begin("looking at the ring of segments"))
	{
		(void) one_number(&query, NULL, &found);
		smem_commit();
	}
	return found;
}
