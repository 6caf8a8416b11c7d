#include "core/table.h"

#include <string.h>

#define SMEM_TABLE_FIRST 64

static uint64_t
mix(uint64_t h)
{
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 32;
	return h;
}

uint64_t
smem_hash(uint64_t seed, SmemStr s)
{
	uint64_t h = mix(seed ^ (s.len * UINT64_C(0x9e3779b97f4a7c15)));
	uint64_t word;

	while (s.len >= sizeof(word))
	{
		memcpy(&word, s.data, sizeof(word));
		h = mix(h ^ word) + UINT64_C(0x9e3779b97f4a7c15);
		s.data += sizeof(word);
		s.len -= sizeof(word);
	}
	if (s.len > 0)
	{
		word = 0;
		memcpy(&word, s.data, s.len);
		h = mix(h ^ word);
	}
	return mix(h);
}

void
smem_table_free(SmemTable *table)
{
	smem_release(table->slots);
	memset(table, 0, sizeof(*table));
}

static SmemEntry *
seek(SmemEntry *entry, uint64_t hash)
{
	while (entry != NULL && entry->hash != hash)
		entry = entry->next;
	return entry;
}

SmemEntry *
smem_table_find(const SmemTable *table, uint64_t hash)
{
	return table->size == 0 ? NULL : seek(table->slots[hash & (table->size - 1)], hash);
}

SmemEntry *
smem_table_more(const SmemEntry *entry)
{
	return seek(entry->next, entry->hash);
}

static void
insert(SmemTable *table, SmemEntry *entry)
{
	SmemEntry **slot = &table->slots[entry->hash & (table->size - 1)];

	entry->next = *slot;
	*slot = entry;
}

static bool
grow(SmemTable *table)
{
	SmemTable bigger = {.size = table->size ? table->size * 2 : SMEM_TABLE_FIRST, .n = table->n};

	bigger.slots = smem_alloc(bigger.size * sizeof(*bigger.slots));
	if (bigger.slots == NULL)
		return false;
	for (size_t i = 0; i < table->size; i++)
	{
		SmemEntry *entry = table->slots[i];

		while (entry != NULL)
		{
			SmemEntry *next = entry->next;

			insert(&bigger, entry);
			entry = next;
		}
	}
	smem_release(table->slots);
	*table = bigger;
	return true;
}

bool
smem_table_add(SmemTable *table, SmemEntry *entry, uint64_t hash)
{
	if (table->n >= table->size && !grow(table))
		return false;
	entry->hash = hash;
	insert(table, entry);
	table->n++;
	return true;
}

void
smem_table_remove(SmemTable *table, SmemEntry *entry)
{
	SmemEntry **at = &table->slots[entry->hash & (table->size - 1)];

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	table->n--;
}
