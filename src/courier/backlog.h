/*
 * The rows of the Kafka sink that have no outcome yet, in the order in which
 * they came.
 *
 * A row is unsent until it is handed to the producer, and stays in its place
 * until it has an outcome.  What a failed producer gives back is handed over
 * again by rewinding to the first row: no later row of a session can pass it.
 *
 * The pool is fixed, and an entry keeps its buffer for the next row, so that
 * a steady stream allocates nothing.
 */
#ifndef SMEM_COURIER_BACKLOG_H
#define SMEM_COURIER_BACKLOG_H

#include "courier/event.h"

#define SMEM_BACKLOG_ROWS SMEM_FRAME_ROWS
#define SMEM_BACKLOG_BYTES ((size_t) 12 * 1024 * 1024)

typedef struct SmemPending
{
	struct SmemPending *prev;
	struct SmemPending *next; /* in the list, or in the list of free entries */
	int64_t				id;
	SmemEvent			event;
	bool				handed;	   /* the producer has it */
	bool				suspect;   /* was refused together with others of its batch */
	uint32_t			tries;	   /* how often it was handed over */
	int32_t				partition; /* once it is delivered */
	int64_t				offset;
} SmemPending;

typedef struct SmemBacklog
{
	SmemPending *pool;
	SmemPending *first;
	SmemPending *last;
	SmemPending *unsent; /* the first that was not handed over since the last rewind */
	SmemPending *free;
	uint32_t	 count;
	uint32_t	 handed;
	uint32_t	 suspects;
	size_t		 bytes;
} SmemBacklog;

extern bool smem_backlog_init(SmemBacklog *rows);
extern void smem_backlog_free(SmemBacklog *rows);

extern bool smem_backlog_has_room(const SmemBacklog *rows);

/* Puts the row's event behind all others; false when there is neither entry nor memory. */
extern bool smem_backlog_add(SmemBacklog *rows, const SmemRow *row);

/* The producer takes the first unsent row, or gives a row back. */
extern void smem_backlog_hand(SmemBacklog *rows, SmemPending *row);
extern void smem_backlog_return(SmemBacklog *rows, SmemPending *row);

extern void smem_backlog_suspect(SmemBacklog *rows, SmemPending *row);

/* Everything is handed over anew, from the first row on; the producer must have nothing. */
extern void smem_backlog_rewind(SmemBacklog *rows);

/* The row has its outcome. */
extern void smem_backlog_remove(SmemBacklog *rows, SmemPending *row);

#endif
