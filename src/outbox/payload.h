/*
 * From a payload and a caller's arguments to a write: every rule of what may
 * be written is here.
 */
#ifndef SMEM_OUTBOX_PAYLOAD_H
#define SMEM_OUTBOX_PAYLOAD_H

#include "core/frame.h"
#include "outbox/key.h"

#include "utils/jsonb.h"

/* Arguments of a call; absent where NULL. */
typedef struct SmemWriteArgs
{
	SmemStr tenant;
	SmemStr session;
	SmemStr namespace;
	SmemStr persona;
	SmemStr key;
	SmemStr traceparent;
	bool	tenant_is_bound; /* the caller's role has it, whoever named it */
} SmemWriteArgs;

/*
 * One write, ready for the ledger and the outbox.  Strings live in the
 * payload, in the arguments, or where smem_write_read allocated them.
 */
typedef struct SmemWrite
{
	int				ordinal; /* in a batch, from 1; else 0 */
	JsonbContainer *payload;
	int				payload_len;
	SmemStr			tenant;
	SmemStr			session;
	SmemStr namespace;
	SmemStr persona; /* may be absent */
	SmemStr key;
	bool	key_is_new; /* made for this write: nobody else can have it */
	uint8	key_hash[SMEM_HASH_SIZE];
	uint8	payload_hash[SMEM_HASH_SIZE];
} SmemWrite;

/* Refuses arguments that no payload could make right. */
extern void smem_write_check_args(const SmemWriteArgs *args);

/*
 * Reads one payload; an error where it or its fit with the arguments is
 * wrong.  ordinal is its place in a batch, 0 where there is none.  write->key
 * is palloc'd unless it is the caller's; scratch is left behind in the
 * current context.
 */
extern void smem_write_read(SmemHasher *hasher, const SmemWriteArgs *args, JsonbContainer *payload,
							int payload_len, int ordinal, SmemWrite *write);

#endif
