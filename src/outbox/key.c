#include "postgres.h"

#include "outbox/key.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "core/encode.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Hexadecimal digits of the hash in a key, and of a UUID with its hyphens. */
#define KEY_HASH_BYTES 8
#define UUID_SIZE 16

static SmemStr
to_utf8(SmemStr s)
{
	char	   *text;

	if (!smem_str_present(s) || GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return s;
	text = pg_server_to_any(s.data, s.len, PG_UTF8);
	if (text == s.data)
		return s;
	return smem_str(text);
}

static void
check_hash(int status, pg_cryptohash_ctx *ctx)
{
	if (status < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(ctx));
}

static pg_cryptohash_ctx *
begin_sha256(void)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	check_hash(pg_cryptohash_init(ctx), ctx);
	return ctx;
}

static void
add_sha256(pg_cryptohash_ctx *ctx, const void *bytes, size_t n)
{
	check_hash(pg_cryptohash_update(ctx, bytes, n), ctx);
}

static void
end_sha256(pg_cryptohash_ctx *ctx, uint8 digest[PG_SHA256_DIGEST_LENGTH])
{
	check_hash(pg_cryptohash_final(ctx, digest, PG_SHA256_DIGEST_LENGTH), ctx);
	pg_cryptohash_free(ctx);
}

static void
add_part(pg_cryptohash_ctx *ctx, SmemStr part)
{
	SmemStr		text = to_utf8(part);
	uint64		n = smem_str_present(text) ? text.len : PG_UINT64_MAX;
	uint8		length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8) (n >> (8 * i));
	add_sha256(ctx, length, sizeof(length));
	if (smem_str_present(text))
		add_sha256(ctx, text.data, text.len);
}

void
smem_hash_parts(const SmemStr *parts, int n, uint8_t hash[SMEM_HASH_SIZE])
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *ctx = begin_sha256();

	for (int i = 0; i < n; i++)
		add_part(ctx, parts[i]);
	end_sha256(ctx, digest);
	memcpy(hash, digest, SMEM_HASH_SIZE);
}

void
smem_key_hash(SmemStr tenant, SmemStr key, uint8_t hash[SMEM_HASH_SIZE])
{
	SmemStr		parts[] = {tenant, key};

	smem_hash_parts(parts, lengthof(parts), hash);
}

/* Version 7: 48 bits of Unix milliseconds, then random bits. */
static void
make_uuid(uint8 uuid[UUID_SIZE])
{
	uint64		ms = (uint64) (GetCurrentTimestamp() / 1000) +
		(uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	if (!pg_strong_random(uuid, UUID_SIZE))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int i = 0; i < 6; i++)
		uuid[i] = (uint8) (ms >> (8 * (5 - i)));
	uuid[6] = (uuid[6] & 0x0F) | 0x70;
	uuid[8] = (uuid[8] & 0x3F) | 0x80;
}

static void
put_uuid(SmemBuf *buf)
{
	static const int groups[] = {4, 2, 2, 2, 6};
	uint8		uuid[UUID_SIZE];
	const uint8 *at = uuid;

	make_uuid(uuid);
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
smem_key_default(const SmemKeyParts *parts)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	SmemBuf		buf;
	SmemStr		key;

	if (smem_str_present(parts->source))
	{
		pg_cryptohash_ctx *ctx = begin_sha256();
		SmemStr		source = to_utf8(parts->source);

		add_sha256(ctx, source.data, source.len);
		end_sha256(ctx, digest);
	}

	/* Nothing from here to the buffer's release can raise an error, but for the lack of random values. */
	smem_buf_init(&buf, MaxAllocSize);
	put_part(&buf, parts->tenant);
	put_part(&buf, parts->namespace);
	put_part(&buf, parts->session);
	put_part(&buf, parts->role);
	put_part(&buf, smem_str(parts->timestamp));
	if (smem_str_present(parts->source))
		smem_encode_hex(&buf, digest, KEY_HASH_BYTES);
	else
		put_uuid(&buf);
	if (buf.failed)
	{
		smem_buf_free(&buf);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	key.len = smem_buf_len(&buf);
	key.data = pnstrdup(smem_buf_head(&buf), key.len);
	smem_buf_free(&buf);
	return key;
}
