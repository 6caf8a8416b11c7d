/*
 * One of the extension's tables, open for rows that do not come from a plan.
 *
 * All indexes are kept, those too that an administrator has added.  Nothing
 * else that hangs on a table is: no triggers, no defaults, no checks, no
 * permissions; whoever calls has decided that the row may go in.
 */
#ifndef SMEM_PG_TABLE_H
#define SMEM_PG_TABLE_H

#include "executor/executor.h"
#include "utils/rel.h"

typedef struct SmemTable
{
	Relation	   rel;
	EState		  *estate;
	ResultRelInfo *info;
} SmemTable;

/*
 * Opens and locks the relation for writing; 55000 when it is gone.
 * speculative: smem_table_claim and smem_table_free_for may be called.
 */
extern void smem_table_open(SmemTable *table, EState *estate, Oid oid, bool speculative);

/* Releases everything but the locks, which the transaction gives back all at once. */
extern void smem_table_close(SmemTable *table);

/* A slot of the table's kind; the caller drops it before the table is closed. */
extern TupleTableSlot *smem_table_slot(SmemTable *table);

/* Inserts a row. */
extern void smem_table_insert(SmemTable *table, TupleTableSlot *slot);

/* Inserts rows; memory that this leaves behind goes with the current context. */
extern void smem_table_insert_many(SmemTable *table, TupleTableSlot **slots, int n);

/*
 * Whether no row has the values of the slot's in a unique index.
 *
 * Waits for the end of a transaction that has inserted such a row.  When
 * there is one, tid is its place.
 */
extern bool smem_table_free_for(SmemTable *table, TupleTableSlot *slot, ItemPointer tid);

/*
 * Inserts the slot's row unless another session has put one with the same
 * unique values there since smem_table_free_for; false then.
 */
extern bool smem_table_claim(SmemTable *table, TupleTableSlot *slot);

#endif
