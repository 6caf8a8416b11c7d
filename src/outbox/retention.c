#include "postgres.h"

#include "outbox/retention.h"

#include "catalog/pg_type.h"
#include "core/sink.h"
#include "pg/catalog.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "storage/bufmgr.h"
#include "access/relation.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* Blocks of the ledger looked at in one step: at one step in ten seconds, 200 MB an hour. */
#define LEDGER_BLOCKS 128

/* Rows of the shipment log that go in one step and sink. */
#define SHIPMENT_ROWS "1000"

/* Of what operators took out of the queue. */
#define WITHDRAWN_ROWS "1000"

/*
 * The ledger has no index on time, which every write would pay for.  It is
 * swept block by block instead, round and round.
 */
static void
sweep_ledger(void)
{
	static SmemQuery query = {
		"DELETE FROM somamem.idempotency WHERE ctid >= $1::text::tid AND ctid < $2::text::tid"
		" AND written_at < pg_catalog.clock_timestamp() - $3 * interval '1 second'",
		3,
		{TEXTOID, TEXTOID, FLOAT8OID}};
	static BlockNumber next = 0;
	Relation		   rel = relation_open(smem_relation_oid("idempotency"), AccessShareLock);
	BlockNumber		   blocks = RelationGetNumberOfBlocks(rel);
	char			   from[32];
	char			   to[32];
	Datum			   args[3];

	relation_close(rel, AccessShareLock);
	if (next >= blocks)
		next = 0;
	snprintf(from, sizeof(from), "(%u,0)", next);
	snprintf(to, sizeof(to), "(%u,0)", next + LEDGER_BLOCKS);
	args[0] = CStringGetTextDatum(from);
	args[1] = CStringGetTextDatum(to);
	args[2] = Float8GetDatum((double) smem_guc_idempotency_window_s);
	smem_query(&query, args, NULL, 0);
	next += LEDGER_BLOCKS;
}

/* The newest row of each sink is its position and stays for ever. */
static void
trim_shipments(SmemSink sink)
{
	static SmemQuery query = {
		"DELETE FROM somamem.shipment s USING (SELECT id FROM somamem.shipment WHERE sink = $1"
		"  AND recorded_at < pg_catalog.clock_timestamp() - $2 * interval '1 second'"
		"  AND id < (SELECT max(id) FROM somamem.shipment WHERE sink = $1) ORDER BY id LIMIT " SHIPMENT_ROWS
		") AS old"
		" WHERE s.sink = $1 AND s.id = old.id",
		2,
		{TEXTOID, FLOAT8OID}};
	static SmemQuery oldest = {
		"SELECT 1 FROM (SELECT recorded_at FROM somamem.shipment WHERE sink = $1 ORDER BY id LIMIT 1) AS first"
		" WHERE recorded_at < pg_catalog.clock_timestamp() - $2 * interval '1 second'",
		2,
		{TEXTOID, FLOAT8OID}};
	Datum args[2] = {CStringGetTextDatum(smem_sink_name(sink)),
					 Float8GetDatum((double) smem_guc_idempotency_window_s)};

	if (smem_query(&oldest, args, NULL, 1) > 0)
		smem_query(&query, args, NULL, 0);
}

/* Goes with the keys, but not before the row itself: that would pass for delivered then. */
static void
trim_withdrawn(void)
{
	static SmemQuery query = {
		"DELETE FROM somamem.withdrawn w USING (SELECT o.id, o.sink FROM somamem.withdrawn o"
		"  WHERE o.withdrawn_at < pg_catalog.clock_timestamp() - $1 * interval '1 second'"
		"  AND NOT EXISTS (SELECT 1 FROM somamem.outbox r WHERE r.id = o.id)"
		"  ORDER BY o.withdrawn_at LIMIT " WITHDRAWN_ROWS ") AS old"
		" WHERE w.id = old.id AND w.sink = old.sink",
		1,
		{FLOAT8OID}};
	Datum args[1] = {Float8GetDatum((double) smem_guc_idempotency_window_s)};

	smem_query(&query, args, NULL, 0);
}

void
smem_retention_step(void)
{
	if (!smem_begin("forgetting old receipts"))
		return;
	sweep_ledger();
	for (int sink = 0; sink < SMEM_SINKS; sink++)
		trim_shipments(sink);
	trim_withdrawn();
	smem_commit();
}
