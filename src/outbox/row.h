/*
 * One outbox row, from a query's result to what a courier needs of it.
 */
#ifndef SMEM_OUTBOX_ROW_H
#define SMEM_OUTBOX_ROW_H

#include "executor/spi.h"
#include "outbox/page.h"

/* The columns that smem_row_decode expects, in its order. */
#define SMEM_ROW_COLUMNS                                                                             \
	"o.id, o.xid, o.created_at, o.deliver_after, o.tenant, o.session_id, o.namespace, o.persona_id," \
	" o.idempotency_key, o.traceparent, o.payload"

extern int64_t	smem_row_id(SPITupleTable *table, uint64_t i);
extern uint64_t smem_row_xid(SPITupleTable *table, uint64_t i);

/* One more column of text, which is the row's trouble where it is no UTF-8. */
extern void smem_row_text(SPITupleTable *table, uint64_t i, int column, SmemOutboxRow *row,
						  SmemStr *text);

/* A text of the database as sinks get it: itself where it cannot be turned into UTF-8, which marks the row. */
extern SmemStr smem_row_utf8(char *text, int len, SmemOutboxRow *row);

/* Everything it sets lives in the current context. */
extern void smem_row_decode(SPITupleTable *table, uint64_t i, SmemSink sink, SmemOutboxRow *row);

#endif
