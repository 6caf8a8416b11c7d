/*
 * Snapshots that outlive their transaction: which top-level transactions
 * were over at a moment.
 *
 * Unlike PostgreSQL's own, which stops at the newest transaction that has
 * ended, a moment also knows the next transaction id that was to be handed
 * out: whatever lies between was in progress, although no list names it.
 */
#ifndef SMEM_OUTBOX_SNAPSHOT_H
#define SMEM_OUTBOX_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Transaction id of a row that a subscription brought: a copy, which another
 * server ships.  It is part of no step, and not meant by its id.  As text for
 * statements, too.
 */
#define SMEM_XID_COPY 3
#define SMEM_XID_COPY_SQL "'3'"

/*
 * Of a row that was put back from its dead letter, because the outbox had not
 * kept it: it is part of no step either, and goes to the one sink that it is
 * parked for.
 */
#define SMEM_XID_PUT_BACK 4
#define SMEM_XID_PUT_BACK_SQL "'4'"

typedef struct SmemSnapshot
{
	uint64_t  xmin; /* every transaction below is over */
	uint64_t  xmax; /* every transaction from here on was not */
	int		  nxip;
	uint64_t *xip; /* between them, those in progress; sorted */
} SmemSnapshot;

/*
 * A point up to which rows were looked for.  high is read first, then
 * next_xid, then the snapshot: so a row with an id up to high was written by
 * a transaction below next_xid, and that one is either visible here, or named
 * by smem_moment_late.
 */
typedef struct SmemMoment
{
	int64_t		 high; /* last id handed out */
	uint64_t	 next_xid;
	SmemSnapshot snapshot;
} SmemMoment;

/* What was over in the snapshot; says nothing about commit or abort. */
extern bool smem_snapshot_shows(const SmemSnapshot *snap, uint64_t xid);

/* As pg_snapshot's text, palloc'd; and back (raises XX000 on anything else). */
extern char *smem_snapshot_text(const SmemSnapshot *snap);
extern void	 smem_snapshot_parse(const char *text, SmemSnapshot *snap);

/* The beginning of time: shows nothing. */
extern void smem_moment_zero(SmemMoment *moment);

extern bool smem_moment_is_zero(const SmemMoment *moment);

/* Now.  Needs a transaction with SPI; lists are allocated in the current context. */
extern void smem_moment_take(SmemMoment *moment);

/* The last id handed out so far. */
extern int64_t smem_last_id(void);

/* Deep copy into the current context, and release of the lists. */
extern void smem_moment_copy(SmemMoment *to, const SmemMoment *from);
extern void smem_moment_free(SmemMoment *moment);

/* Whether the first was taken at or after the second. */
extern bool smem_moment_reached(const SmemMoment *moment, const SmemMoment *other);

/* Whether nothing can have been committed between the two. */
extern bool smem_moment_equal(const SmemMoment *a, const SmemMoment *b);

#endif
