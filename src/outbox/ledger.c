#include "postgres.h"

#include "outbox/ledger.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "pg/catalog.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

enum
{
	ATT_KEY_HASH = 1,
	ATT_PAYLOAD_HASH,
	ATT_ID,
	ATT_WRITTEN_AT,
	ATT_COUNT = ATT_WRITTEN_AT
};

StaticAssertDecl(SMEM_HASH_SIZE == UUID_LEN, "a hash is stored as a uuid");

void
smem_ledger_open(SmemLedger *ledger, EState *estate)
{
	smem_table_open(&ledger->table, estate, smem_relation_oid("idempotency"), true);
	ledger->slot = smem_table_slot(&ledger->table);
	ledger->sequence = smem_relation_oid("outbox_id_seq");
}

void
smem_ledger_close(SmemLedger *ledger)
{
	ExecDropSingleTupleTableSlot(ledger->slot);
	smem_table_close(&ledger->table);
}

static void
fill_row(TupleTableSlot *slot, const SmemWrite *write, int64 id, TimestampTz now)
{
	Datum *values = slot->tts_values;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, ATT_COUNT * sizeof(bool));
	values[ATT_KEY_HASH - 1] = UUIDPGetDatum((const pg_uuid_t *) write->key_hash);
	values[ATT_PAYLOAD_HASH - 1] = UUIDPGetDatum((const pg_uuid_t *) write->payload_hash);
	values[ATT_ID - 1] = Int64GetDatum(id);
	values[ATT_WRITTEN_AT - 1] = TimestampTzGetDatum(now);
	ExecStoreVirtualTuple(slot);
}

static bool
has_hash(TupleTableSlot *slot, AttrNumber att, const uint8 *hash)
{
	bool  isnull;
	Datum value = slot_getattr(slot, att, &isnull);

	return memcmp(DatumGetUUIDP(value)->data, hash, SMEM_HASH_SIZE) == 0;
}

static void
report_other_content(const SmemWrite *write, int64 id)
{
	char owner[32] = "";

	if (write->ordinal > 0)
		snprintf(owner, sizeof(owner), " of payload %d", write->ordinal);
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("idempotency key%s was used for a different memory write", owner),
			 errdetail("The first write with this key has id %lld.", (long long) id),
			 errhint("Use another key for other content, or repeat the first write unchanged.")));
}

/*
 * Reads the first write's row.  False when it is not there any more, because
 * the ledger was cleaned meanwhile.
 *
 * The row was found visible, or our own, without regard to any snapshot, and
 * so it is read without one: a repeat gets its receipt in a transaction too
 * whose snapshot is older than the first write.
 */
static bool
read_first(SmemLedger *ledger, ItemPointer tid, const SmemWrite *write, SmemClaim *claim)
{
	TupleTableSlot *slot = smem_table_slot(&ledger->table);
	bool			same_payload = false;
	bool			found;

	found = table_tuple_fetch_row_version(ledger->table.rel, tid, SnapshotAny, slot) &&
			has_hash(slot, ATT_KEY_HASH, write->key_hash);
	if (found)
	{
		bool  isnull;
		Datum xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);

		claim->foreign = !TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
		claim->id = DatumGetInt64(slot_getattr(slot, ATT_ID, &isnull));
		claim->deduplicated = true;
		same_payload = has_hash(slot, ATT_PAYLOAD_HASH, write->payload_hash);
	}
	ExecDropSingleTupleTableSlot(slot);
	if (found && !same_payload)
		report_other_content(write, claim->id);
	return found;
}

/*
 * The next id.  A reader of the queue relies on the order: whoever has an id
 * had its transaction id before.
 */
static int64
next_id(SmemLedger *ledger)
{
	(void) GetTopFullTransactionId();
	return nextval_internal(ledger->sequence, false);
}

/* After a repeat, so many further writes look for their key before they insert anything. */
#define WARY_WRITES 1000

/*
 * Most keys are new, so a row goes in without a look for its key first: the
 * unique index finds the rare repeat all the same, at the price of an id and
 * a dead row.  Repeats come in swarms, though, when a gateway sends again
 * what it cannot be sure of; so one of them makes the session look first.
 */
SmemClaim
smem_ledger_claim(SmemLedger *ledger, const SmemWrite *write, TimestampTz now)
{
	static int wary = 0;
	SmemTable *table = &ledger->table;
	SmemClaim  claim = {0};

	if (write->key_is_new)
	{
		claim.id = next_id(ledger);
		fill_row(ledger->slot, write, claim.id, now);
		smem_table_insert(table, ledger->slot);
		return claim;
	}
	for (;;)
	{
		ItemPointerData tid;

		CHECK_FOR_INTERRUPTS();
		if (wary > 0)
		{
			wary--;
			fill_row(ledger->slot, write, claim.id, now);
			if (!smem_table_free_for(table, ledger->slot, &tid))
			{
				wary = WARY_WRITES;
				if (read_first(ledger, &tid, write, &claim))
					return claim;
				continue;
			}
		}
		if (claim.id == 0)
			claim.id = next_id(ledger);
		fill_row(ledger->slot, write, claim.id, now);
		if (smem_table_claim(table, ledger->slot))
			return claim;
		wary = WARY_WRITES;
	}
}
