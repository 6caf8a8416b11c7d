#include "postgres.h"

#include "outbox/key.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "core/encode.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Bytes of the hash in a key, printed as twice as many digits. */
#define KEY_HASH_BYTES 8
#define UUID_SIZE 16

static SmemStr
to_utf8(SmemStr s)
{
	int	  encoding = GetDatabaseEncoding();
	char *text;

	if (!smem_str_present(s) || encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return s;
	text = pg_server_to_any(s.data, s.len, PG_UTF8);
	if (text == s.data)
		return s;
	return smem_str(text);
}

static void
check_hash(int status, SmemHasher *hasher)
{
	if (status < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hasher));
}

SmemHasher *
smem_hasher_open(void)
{
	SmemHasher *hasher = pg_cryptohash_create(PG_SHA256);

	if (hasher == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return hasher;
}

void
smem_hasher_close(SmemHasher *hasher)
{
	pg_cryptohash_free(hasher);
}

/* What is hashed, gathered so that small parts cost the library one call together. */
typedef struct Input
{
	SmemHasher *hasher;
	size_t		used;
	uint8		bytes[1024];
} Input;

static void
begin(Input *input, SmemHasher *hasher)
{
	input->hasher = hasher;
	input->used = 0;
	check_hash(pg_cryptohash_init(hasher), hasher);
}

static void
drain(Input *input)
{
	if (input->used > 0)
		check_hash(pg_cryptohash_update(input->hasher, input->bytes, input->used), input->hasher);
	input->used = 0;
}

static void
add_bytes(Input *input, const void *bytes, size_t n)
{
	if (input->used + n > sizeof(input->bytes))
		drain(input);
	if (n > sizeof(input->bytes))
	{
		check_hash(pg_cryptohash_update(input->hasher, bytes, n), input->hasher);
		return;
	}
	memcpy(input->bytes + input->used, bytes, n);
	input->used += n;
}

/* A part behind its length; the length of an absent one is no length. */
static void
add_part(Input *input, SmemStr part)
{
	uint64 n = smem_str_present(part) ? part.len : PG_UINT64_MAX;
	uint8  length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8) (n >> (8 * i));
	add_bytes(input, length, sizeof(length));
	if (smem_str_present(part))
		add_bytes(input, part.data, part.len);
}

/* The first n bytes of SHA-256 over the input. */
static void
finish(Input *input, uint8 *hash, size_t n)
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];

	drain(input);
	check_hash(pg_cryptohash_final(input->hasher, digest, sizeof(digest)), input->hasher);
	memcpy(hash, digest, n);
}

void
smem_hash_parts(SmemHasher *hasher, const SmemStr *parts, int n, uint8_t hash[SMEM_HASH_SIZE])
{
	Input input;

	begin(&input, hasher);
	for (int i = 0; i < n; i++)
		add_part(&input, parts[i]);
	finish(&input, hash, SMEM_HASH_SIZE);
}

void
smem_key_hash_by(SmemHasher *hasher, SmemStr tenant, SmemStr key, uint8_t hash[SMEM_HASH_SIZE])
{
	SmemStr parts[] = {to_utf8(tenant), to_utf8(key)};

	smem_hash_parts(hasher, parts, lengthof(parts), hash);
}

void
smem_key_hash(SmemStr tenant, SmemStr key, uint8_t hash[SMEM_HASH_SIZE])
{
	SmemHasher *hasher = smem_hasher_open();

	smem_key_hash_by(hasher, tenant, key, hash);
	smem_hasher_close(hasher);
}

static void
hash_source(SmemHasher *hasher, SmemStr source, uint8 hash[KEY_HASH_BYTES])
{
	SmemStr text = to_utf8(source);
	Input	input;

	begin(&input, hasher);
	add_bytes(&input, text.data, text.len);
	finish(&input, hash, KEY_HASH_BYTES);
}

/* Random bytes, drawn for many keys at once: each draw costs as much as the rest of a key. */
static void
take_random(uint8 *bytes, size_t n)
{
	static uint8  pool[1024];
	static size_t left = 0;

	if (left < n)
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
		left = sizeof(pool);
	}
	left -= n;
	memcpy(bytes, pool + left, n);
}

/* Version 7: 48 bits of Unix milliseconds, then random bits. */
static void
make_uuid(uint8 uuid[UUID_SIZE])
{
	uint64 ms = (uint64) (GetCurrentTimestamp() / 1000) +
				(uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	take_random(uuid, UUID_SIZE);
	for (int i = 0; i < 6; i++)
		uuid[i] = (uint8) (ms >> (8 * (5 - i)));
	uuid[6] = (uuid[6] & 0x0F) | 0x70;
	uuid[8] = (uuid[8] & 0x3F) | 0x80;
}

static void
put_uuid(SmemBuf *buf, const uint8 uuid[UUID_SIZE])
{
	static const int groups[] = {4, 2, 2, 2, 6};
	const uint8		*at = uuid;

	for (int i = 0; i < lengthof(groups); i++)
	{
		if (i > 0)
			smem_buf_putc(buf, '-');
		smem_encode_hex(buf, at, groups[i]);
		at += groups[i];
	}
}

static void
put_part(SmemBuf *buf, SmemStr part)
{
	smem_encode_part(buf, part);
	smem_buf_putc(buf, '/');
}

SmemStr
smem_key_default(SmemHasher *hasher, const SmemKeyParts *parts)
{
	bool	by_source = smem_str_present(parts->source);
	uint8	hash[KEY_HASH_BYTES];
	uint8	uuid[UUID_SIZE];
	SmemBuf buf;
	SmemStr key;

	if (by_source)
		hash_source(hasher, parts->source, hash);
	else
		make_uuid(uuid);

	/* Nothing from here to the buffer's release can raise an error. */
	smem_buf_init(&buf, MaxAllocSize);
	put_part(&buf, parts->tenant);
	put_part(&buf, parts->namespace);
	put_part(&buf, parts->session);
	put_part(&buf, parts->role);
	put_part(&buf, smem_str(parts->timestamp));
	if (by_source)
		smem_encode_hex(&buf, hash, KEY_HASH_BYTES);
	else
		put_uuid(&buf, uuid);
	key.len = smem_buf_len(&buf);
	key.data = buf.failed ? NULL : palloc_extended(key.len + 1, MCXT_ALLOC_NO_OOM);
	if (key.data != NULL)
		memcpy((char *) key.data, smem_buf_text(&buf), key.len + 1);
	smem_buf_free(&buf);
	if (key.data == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return key;
}
