/*
 * A doubly linked list through a member of what it holds.
 *
 * An SmemNode that is in no list points to nothing, so that unlinking is
 * harmless and membership can be asked.
 */
#ifndef SMEM_CORE_LIST_H
#define SMEM_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct SmemNode
{
	struct SmemNode *prev;
	struct SmemNode *next;
} SmemNode;

/* The list's own link: a ring through all members and itself. */
typedef struct SmemList
{
	SmemNode ring;
} SmemList;

#define SMEM_HOLDER(link, type, member) ((type *) ((char *) (link) -offsetof(type, member)))

static inline void
smem_list_init(SmemList *list)
{
	list->ring.prev = list->ring.next = &list->ring;
}

static inline bool
smem_list_empty(const SmemList *list)
{
	return list->ring.next == &list->ring;
}

static inline bool
smem_linked(const SmemNode *link)
{
	return link->next != NULL;
}

static inline void
smem_link_between(SmemNode *link, SmemNode *prev, SmemNode *next)
{
	link->prev = prev;
	link->next = next;
	prev->next = link;
	next->prev = link;
}

static inline void
smem_list_append(SmemList *list, SmemNode *link)
{
	smem_link_between(link, list->ring.prev, &list->ring);
}

static inline void
smem_list_prepend(SmemList *list, SmemNode *link)
{
	smem_link_between(link, &list->ring, list->ring.next);
}

static inline void
smem_unlink(SmemNode *link)
{
	if (link->next == NULL)
		return;
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->prev = link->next = NULL;
}

/* NULL at the end. */
static inline SmemNode *
smem_list_after(const SmemList *list, const SmemNode *link)
{
	return link->next == &list->ring ? NULL : link->next;
}

static inline SmemNode *
smem_list_first(const SmemList *list)
{
	return smem_list_after(list, &list->ring);
}

#endif
