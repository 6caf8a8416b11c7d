/*
 * A hash table through a member of what it holds.
 *
 * The table knows hashes only: the caller walks the entries of one hash and
 * compares keys itself.
 */
#ifndef SMEM_CORE_TABLE_H
#define SMEM_CORE_TABLE_H

#include "core/frame.h"

typedef struct SmemEntry
{
	struct SmemEntry *next;
	uint64_t		  hash;
} SmemEntry;

typedef struct SmemTable
{
	SmemEntry **slots;
	size_t		size; /* a power of two, or 0 */
	size_t		n;
} SmemTable;

/* The hash of bytes, continued from seed: so that a key may have several parts. */
extern uint64_t smem_hash(uint64_t seed, SmemStr s);

extern void smem_table_free(SmemTable *table);

/* The first entry with that hash, and the next one; NULL when there is none. */
extern SmemEntry *smem_table_find(const SmemTable *table, uint64_t hash);
extern SmemEntry *smem_table_more(const SmemEntry *entry);

/* False when out of memory; the table is as before. */
extern bool smem_table_add(SmemTable *table, SmemEntry *entry, uint64_t hash);
extern void smem_table_remove(SmemTable *table, SmemEntry *entry);

#endif
