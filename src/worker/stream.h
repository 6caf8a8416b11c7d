/*
 * A stream: one way of a shipper through the queue, step by step, with a
 * position of its own.
 *
 * The main stream reads everybody's rows, but for those of tenants on a
 * detour: each of these has a stream of its own, behind the main one, so that
 * nobody waits behind its backlog (detour.c has their life).
 */
#ifndef SMEM_WORKER_STREAM_H
#define SMEM_WORKER_STREAM_H

#include "outbox/page.h"
#include "outbox/position.h"
#include "worker/window.h"

/* Steps whose rows are still in the window.  More commits wait for the next step, together. */
#define SMEM_STEPS 32

typedef struct SmemOpenStep
{
	SmemStep	step;
	uint32_t	number;
	int			rows;	   /* of it in the window */
	TimestampTz from_time; /* no row of it was committed before: the first commit since step.from */
} SmemOpenStep;

typedef struct SmemStream
{
	int			 list;	 /* of its rows in the window */
	char		*tenant; /* NULL: the main stream, or a detour that is free */
	SmemMoment	 last;	 /* up to here rows were looked for: the next step's beginning */
	TimestampTz	 last_time;
	SmemOpenStep steps[SMEM_STEPS]; /* a ring, oldest at first_step */
	int			 first_step;
	int			 nsteps;
	uint32_t	 next_number;
	SmemMoment	 from;	/* every row up to here is recorded, or in the window and settled */
	bool		 moved; /* since the last record */
	TimestampTz
		blocked_since; /* its first row has no outcome, and later ones are delivered; 0: not so */

	/* detours */
	int64_t		number;
	int			before;	  /* rows of the main stream that were read earlier and are in the window */
	bool		recorded; /* the table knows of it */
	bool		closed;	  /* it ends at until, and the tenant is the main stream's again */
	SmemMoment	until;
	TimestampTz hold_until; /* nothing is read before */
} SmemStream;

/* All lists of steps and moments are allocated in the context. */
extern void			 smem_stream_begin(SmemStream *st, const SmemPosition *position);
extern SmemOpenStep *smem_stream_step(SmemStream *st, int i);
extern SmemOpenStep *smem_stream_newest(SmemStream *st);

/* Opens the step from the last moment to this one, whose lists it takes over.  In a transaction. */
extern void smem_stream_open_step(SmemStream *st, SmemSink sink, SmemMoment *to, int64_t after_id,
								  TimestampTz from_time);

/* Goes on where another stream stands inside its newest step. */
extern void smem_stream_fork(SmemStream *st, SmemStream *from);

extern bool smem_stream_unread(SmemStream *st);

/* Moves over steps of which nothing is left. */
extern void smem_stream_retire(SmemStream *st);

/* Where the position is once the first n rows of its list are recorded. */
extern void smem_stream_position(SmemStream *st, const SmemWindow *window, int n,
								 SmemPosition *position);

/* A row of it left the window. */
extern void smem_stream_row_gone(SmemStream *st, const SmemEntry *entry);

extern void smem_stream_end(SmemStream *st);

#endif
