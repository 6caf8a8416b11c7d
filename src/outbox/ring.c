#include "postgres.h"

#include "outbox/ring.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "pg/catalog.h"
#include "pg/shmem.h"
#include "utils/snapmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

enum
{
	ATT_SEGMENT = 1, ATT_OPENED_AT, ATT_SEALED_AT, ATT_DELIVERED_AT
};

/* Reads the table somamem.segment: the one opened last and not sealed. */
static int
read_current(void)
{
	Relation	rel = table_open(smem_relation_oid("segment"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TimestampTz newest = 0;
	int			current = 0;

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
	uint32		known = db ? pg_atomic_read_u32(&db->segment) : 0;
	int			current;

	if (known != 0)
		return (int) known - 1;
	current = read_current();
	if (db != NULL)
		pg_atomic_write_u32(&db->segment, (uint32) current + 1);
	return current;
}
