#include "core/owner.h"

#define FNV_BASIS ((uint64_t) 0xcbf29ce484222325)
#define FNV_PRIME ((uint64_t) 0x100000001b3)

static uint64_t
add_bytes(uint64_t hash, SmemStr s)
{
	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char) s.data[i]) * FNV_PRIME;
	return hash;
}

static uint64_t
finish(uint64_t hash)
{
	hash = (hash ^ (hash >> 33)) * (uint64_t) 0xff51afd7ed558ccd;
	hash = (hash ^ (hash >> 33)) * (uint64_t) 0xc4ceb9fe1a85ec53;
	return hash ^ (hash >> 33);
}

uint64_t
smem_owner(SmemStr tenant, SmemStr session)
{
	static const SmemStr between = {"", 1};
	uint64_t			 hash = add_bytes(FNV_BASIS, tenant);
	uint64_t			 upper = finish(hash) & SMEM_OWNER_TENANT;

	return upper | (finish(add_bytes(add_bytes(hash, between), session)) & ~SMEM_OWNER_TENANT);
}
