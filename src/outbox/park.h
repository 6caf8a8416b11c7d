/*
 * Rows that left the stream: parked until a retry, and dead letters.
 *
 * All calls are made inside the transaction that records the page, so that a
 * row is at any moment in exactly one place: ahead of the position, parked,
 * dead, or delivered.
 */
#ifndef SMEM_OUTBOX_PARK_H
#define SMEM_OUTBOX_PARK_H

#include "core/sink.h"

#include "datatype/timestamp.h"

typedef struct SmemParked
{
	int64_t		id;
	const char *tenant;
	const char *session;
	const char *state;			 /* retry, behind, held (takes a counted attempt back), delayed */
	int			attempts;		 /* made so far; where more were counted already, those stay */
	TimestampTz next_attempt_at; /* 0: not before its turn comes */
	TimestampTz commit_at;
	const char *class;
	const char *error;
} SmemParked;

typedef struct SmemDead
{
	int64_t id;
	const char *class;
	const char *reason;
	int			attempts;
} SmemDead;

/* A parked row whose time has come, with the state it was in. */
typedef struct SmemDue
{
	int64_t		id;
	const char *tenant;
	const char *session;
	bool		head;	  /* the first of its session */
	int			attempts; /* counted already, this one included */
	TimestampTz commit_at;
} SmemDue;

extern void smem_park(SmemSink sink, const SmemParked *rows, int n);
extern void smem_bury(SmemSink sink, const SmemDead *rows, int n);

/* Takes rows out of parked. */
extern void smem_unpark(SmemSink sink, const int64_t *ids, int n);

/*
 * Takes rows out of parked, as many of these ids as are there, because the
 * sink has them, and gives their sessions' next rows their turn; returns how
 * many, and which.  Allocates in the current context.
 */
extern int smem_park_delivered(SmemSink sink, const int64_t *ids, int n, int64_t **found);

/* Gives the first parked row of each session its turn, where it has none. */
extern void smem_park_promote(SmemSink sink, const char **tenants, const char **sessions, int n);

/* Whether a row of the session is parked that later rows must wait for, but for n that lead them. */
extern bool smem_park_blocks(SmemSink sink, const char *tenant, const char *session,
							 const int64_t *leading, int n);

/* The first parked row of the session; 0: none. */
extern int64_t smem_park_head(SmemSink sink, const char *tenant, const char *session);

/* Whether a row of the tenant is parked because the sink holds the tenant. */
extern bool smem_park_holds_tenant(SmemSink sink, const char *tenant);

/* Lets due delayed rows join their sessions; returns how many, and their tenants in the current context. */
extern int smem_park_wake_delayed(SmemSink sink, char ***tenants);

/* What is parked of each tenant, delayed rows apart. */
typedef struct SmemParkedTenant
{
	char	   *tenant;
	int64_t		rows;
	TimestampTz oldest; /* commit of the oldest one */
} SmemParkedTenant;

extern int smem_park_tenants(SmemSink sink, SmemParkedTenant **tenants);

/*
 * Picks sessions whose turn has come and up to a few rows of each, session by session, in order.
 * Counts an attempt for each head and moves its next turn to lease, in case
 * nobody lives to tell how this one ended.  Allocates in the current context.
 */
extern int smem_park_due(SmemSink sink, int max_sessions, TimestampTz lease, SmemDue **due);

/* Moves the turn of rows that are under way to lease, without counting an attempt. */
extern void smem_park_extend(SmemSink sink, const int64_t *ids, int n, TimestampTz lease);

/* Takes a counted attempt back that was not made; the rows are due then. */
extern void smem_park_return(SmemSink sink, const int64_t *ids, int n, TimestampTz due);

/*
 * Lets no turn be further ahead than this, as turns are that were given before
 * the clock was set back.  What is written for later keeps its time.
 */
extern void smem_park_hasten(SmemSink sink, int longest_ms);

/* Counts for a starting shipper, and the oldest commit among what is parked (0: none). */
extern void		   smem_park_count(SmemSink sink, int64_t *parked, int64_t *delayed, int64_t *dead);
extern TimestampTz smem_park_oldest(SmemSink sink);

/* When the next parked row is due (0: never). */
extern TimestampTz smem_park_next(SmemSink sink);

#endif
