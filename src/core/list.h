/*
 * A doubly linked list through a member of what it holds.
 *
 * An SmemLink that is in no list points to nothing, so that unlinking is
 * harmless and membership can be asked.
 */
#ifndef SMEM_CORE_LIST_H
#define SMEM_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct SmemLink
{
	struct SmemLink *prev;
	struct SmemLink *next;
} SmemLink;

/* The list's own link: a ring through all members and itself. */
typedef struct SmemList
{
	SmemLink	ring;
} SmemList;

#define SMEM_HOLDER(link, type, member) ((type *) ((char *) (link) - offsetof(type, member)))

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
smem_linked(const SmemLink *link)
{
	return link->next != NULL;
}

static inline void
smem_link_between(SmemLink *link, SmemLink *prev, SmemLink *next)
{
	link->prev = prev;
	link->next = next;
	prev->next = link;
	next->prev = link;
}

static inline void
smem_list_append(SmemList *list, SmemLink *link)
{
	smem_link_between(link, list->ring.prev, &list->ring);
}

static inline void
smem_list_prepend(SmemList *list, SmemLink *link)
{
	smem_link_between(link, &list->ring, list->ring.next);
}

static inline void
smem_unlink(SmemLink *link)
{
	if (link->next == NULL)
		return;
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->prev = link->next = NULL;
}

/* NULL at the end. */
static inline SmemLink *
smem_list_after(const SmemList *list, const SmemLink *link)
{
	return link->next == &list->ring ? NULL : link->next;
}

static inline SmemLink *
smem_list_first(const SmemList *list)
{
	return smem_list_after(list, &list->ring);
}

#endif
