/*
 * Idempotency keys and the hashes under which the ledger knows a write.
 *
 * Keys are hashed as UTF-8, whatever the database's encoding, so that they
 * are the same on every server; parts behind their lengths, so that no two
 * lists of parts look alike.
 */
#ifndef SMEM_OUTBOX_KEY_H
#define SMEM_OUTBOX_KEY_H

#include "core/frame.h"
#include "core/iso8601.h"

#define SMEM_HASH_SIZE 16

/*
 * Computes hashes, one after the other.  Belongs to the statement that opened
 * it: an error releases it.
 */
typedef struct pg_cryptohash_ctx SmemHasher;

/* The parts of a key that the caller did not give. */
typedef struct SmemKeyParts
{
	SmemStr tenant;
	SmemStr namespace;
	SmemStr session;
	SmemStr role;
	SmemStr source; /* what the hash is over; absent: a new UUID stands in its place */
	char	timestamp[SMEM_ISO8601_SIZE]; /* "" where there is none */
} SmemKeyParts;

extern SmemHasher *smem_hasher_open(void);
extern void		   smem_hasher_close(SmemHasher *hasher);

/* The key, palloc'd and ended by a NUL. */
extern SmemStr smem_key_default(SmemHasher *hasher, const SmemKeyParts *parts);

/* What is unique in the ledger: the tenant's key.  The second form brings its own hasher. */
extern void smem_key_hash_by(SmemHasher *hasher, SmemStr tenant, SmemStr key,
							 uint8_t hash[SMEM_HASH_SIZE]);
extern void smem_key_hash(SmemStr tenant, SmemStr key, uint8_t hash[SMEM_HASH_SIZE]);

/* First 128 bits of SHA-256 over the parts; an absent part differs from an empty one. */
extern void smem_hash_parts(SmemHasher *hasher, const SmemStr *parts, int n,
							uint8_t hash[SMEM_HASH_SIZE]);

#endif
