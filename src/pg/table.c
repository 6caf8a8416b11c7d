#include "postgres.h"

#include "pg/table.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "pg/compat.h"
#include "storage/lmgr.h"

void
smem_table_open(SmemTable *table, EState *estate, Oid oid, bool speculative)
{
	table->rel = try_table_open(oid, RowExclusiveLock);
	if (table->rel == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the extension \"somamem\" was dropped")));
	table->estate = estate;
	table->info = makeNode(ResultRelInfo);
	InitResultRelInfo(table->info, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->info, speculative);
}

void
smem_table_close(SmemTable *table)
{
	for (int i = 0; i < table->info->ri_NumIndices; i++)
		index_close(table->info->ri_IndexRelationDescs[i], NoLock);
	table_close(table->rel, NoLock);
}

TupleTableSlot *
smem_table_slot(SmemTable *table)
{
	return table_slot_create(table->rel, NULL);
}

static void
insert_index_tuples(SmemTable *table, TupleTableSlot *slot)
{
	if (table->info->ri_NumIndices == 0)
		return;
	list_free(smem_insert_index_tuples(table->info, slot, table->estate, false, NULL));
	ResetPerTupleExprContext(table->estate);
}

void
smem_table_insert(SmemTable *table, TupleTableSlot *slot)
{
	table_tuple_insert(table->rel, slot, GetCurrentCommandId(true), 0, NULL);
	insert_index_tuples(table, slot);
}

void
smem_table_insert_many(SmemTable *table, TupleTableSlot **slots, int n)
{
	table_multi_insert(table->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
		insert_index_tuples(table, slots[i]);
}

bool
smem_table_free_for(SmemTable *table, TupleTableSlot *slot, ItemPointer tid)
{
	bool is_free;

	is_free = smem_check_index_constraints(table->info, slot, table->estate, tid);
	ResetPerTupleExprContext(table->estate);
	return is_free;
}

bool
smem_table_claim(SmemTable *table, TupleTableSlot *slot)
{
	TransactionId xid = GetCurrentTransactionId();
	bool		  conflict = false;
	uint32		  token;

	/* Who meets the row before it is complete waits for the token, not for our transaction. */
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(table->rel, slot, GetCurrentCommandId(true), 0, NULL, token);
	list_free(smem_insert_index_tuples(table->info, slot, table->estate, true, &conflict));
	table_tuple_complete_speculative(table->rel, slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);
	ResetPerTupleExprContext(table->estate);
	return !conflict;
}
