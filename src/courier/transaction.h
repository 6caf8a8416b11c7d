/*
 * The calls of Kafka's transactions, which wait for the network, in a thread
 * of their own: one for each life of a producer.
 *
 * The loop gives one order at a time and goes on; a descriptor wakes it when
 * the order has ended.  The thread calls nothing but librdkafka, and shares
 * nothing but what is behind the lock.
 *
 * PREPARE makes the position topic where it is missing, ends what an older
 * life has left open (init_transactions, which also fences that life), and
 * only then reads the last record of the source: from then on nobody else can
 * change it without fencing us.  Network trouble is not an end of PREPARE: it
 * is told by smem_txn_trouble, and tried again until smem_txn_end.
 *
 * After PREPARE and after each COMMIT that succeeded, a transaction is open.
 */
#ifndef SMEM_COURIER_TRANSACTION_H
#define SMEM_COURIER_TRANSACTION_H

#include <librdkafka/rdkafka.h>

#include "core/error.h"
#include "courier/loop.h"
#include "courier/page_record.h"

typedef enum SmemTxnOrder
{
	SMEM_TXN_NONE,
	SMEM_TXN_PREPARE,
	SMEM_TXN_COMMIT
} SmemTxnOrder;

typedef struct SmemTxn SmemTxn;

typedef struct SmemTxnResult
{
	SmemTxnOrder order;

	/* COMMIT: false tells nothing about the transaction, which may be committed or not. */
	bool	  done;
	bool	  open; /* done, and the next transaction is open */
	SmemError err;	/* why not done, or not open */
} SmemTxnResult;

/* Takes the reader's configuration over; NULL and the reason where there is no thread. */
extern SmemTxn *smem_txn_open(SmemLoop *loop, rd_kafka_t *rk, rd_kafka_conf_t *reader,
							  const char *topic, const char *key, SmemError *err);

/* The last order must have ended. */
extern void smem_txn_order(SmemTxn *txn, SmemTxnOrder order);

/* True once for each order that has ended. */
extern bool smem_txn_take(SmemTxn *txn, SmemTxnResult *result);

/* What PREPARE found; after it is done. */
extern const SmemPageRecord *smem_txn_last(const SmemTxn *txn);

/* The latest trouble that was not told before; false when there is none. */
extern bool smem_txn_trouble(SmemTxn *txn, SmemError *err);

/* Nothing more is told.  The thread ends as soon as its present call does. */
extern void smem_txn_end(SmemTxn *txn);

/* Waits for the thread and frees; after smem_txn_end, and not on the loop. */
extern void smem_txn_join(SmemTxn *txn);

#endif
