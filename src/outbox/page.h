/*
 * Reading the queue: the rows that became visible between two moments, in
 * the order of their ids, a page at a time.
 *
 * A step's cost is that of its own rows and of the transactions that were in
 * progress at its first moment, never of what lies before it.
 *
 * The step from the beginning of time takes rows of another server, too, which
 * came by dump and restore: their transaction ids mean nothing here.  What the
 * other server's log knows to be delivered is left out.
 */
#ifndef SMEM_OUTBOX_PAGE_H
#define SMEM_OUTBOX_PAGE_H

#include "core/frame.h"
#include "core/sink.h"
#include "outbox/snapshot.h"

#include "datatype/timestamp.h"

typedef struct SmemStep
{
	SmemMoment from;
	SmemMoment to;
	int64_t	   top;		/* no row of this step has a greater id */
	int64_t	   read_id; /* rows up to here were read */
	bool	   all_read;
	bool	   restored;	/* the log of another server is to be asked */
	bool	   foreign_log; /* there is one */
	int		   nlate;		/* transactions in progress at from that have ended since */
	uint64_t  *late;
} SmemStep;

/* One row as it leaves the table.  Strings live in the current context; payload and extras as well. */
typedef struct SmemOutboxRow
{
	SmemRow		row; /* ready for a frame */
	uint64_t	xid; /* top-level transaction that wrote it */
	TimestampTz created_at;
	TimestampTz deliver_after; /* 0: none */
	char	   *tenant;		   /* as in the table, for parking */
	char	   *session;
	bool		unsendable; /* its text cannot be UTF-8 */
} SmemOutboxRow;

/* Called for each row; returns false to stop after it. */
typedef bool (*SmemRowVisitor)(SmemOutboxRow *row, void *arg);

/* Whose rows are read: one tenant's, or those of all but some. */
typedef struct SmemFilter
{
	const char	*only; /* NULL: everybody's, but for */
	const char **except;
	int			 nexcept;
} SmemFilter;

/*
 * Prepares the step between two moments, whose lists it takes over, going on
 * behind after_id.  In a transaction; lists are allocated in the current context.
 */
extern void smem_step_begin(SmemStep *step, SmemSink sink, int64_t after_id);
extern void smem_step_free(SmemStep *step);

/* A second reader of the same step, at the same place.  Lists are allocated in the current context. */
extern void smem_step_copy(SmemStep *to, const SmemStep *from);

/*
 * Visits up to max_rows rows of the step and moves read_id; sets all_read at
 * its end.  Where the filter leaves rows out, it may return early, without a
 * row, so that a call takes some milliseconds at most.  In a transaction.
 */
extern void smem_step_read(SmemStep *step, SmemSink sink, const SmemFilter *filter, int max_rows,
						   SmemRowVisitor visit, void *arg);

/* Visits the rows with these ids, in the order of the ids. */
extern void smem_rows_by_id(SmemSink sink, const int64_t *ids, int n, SmemRowVisitor visit,
							void *arg);

#endif
