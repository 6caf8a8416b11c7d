/*
 * One shipper: the state that feed, settle and the main loop share.
 *
 * The process ships the outbox of one database to one sink.  A turn of its
 * loop: take what the courier says, record what is settled, read and hand
 * over what is new, wait.
 */
#ifndef SMEM_WORKER_SHIPPER_H
#define SMEM_WORKER_SHIPPER_H

#include "core/sink.h"
#include "outbox/page.h"
#include "outbox/position.h"
#include "pg/link.h"
#include "pg/shmem.h"
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

typedef struct SmemShipper
{
	SmemSink		  sink;
	SmemDatabaseSlot *db;
	SmemSinkSlot	 *slot;
	MemoryContext	  context; /* the process's life */
	MemoryContext	  turn;	   /* one turn */
	SmemLink		  link;
	SmemWindow		  window;

	bool		 blank; /* no id was handed out and nothing recorded, when last looked */
	SmemMoment	 last;	/* up to here rows were looked for: the next step's beginning */
	TimestampTz	 last_time;
	SmemOpenStep steps[SMEM_STEPS]; /* a ring, oldest at first_step */
	int			 first_step;
	int			 nsteps;
	uint32_t	 next_number;

	SmemMoment from;		   /* the recorded position's moment */
	uint64_t   recorded_high;  /* greatest id that was recorded */
	bool	   position_moved; /* since the last row of the shipment log */
	bool	   exists;		   /* false: the extension is gone */

	/* pace; times in microseconds as TimestampTz */
	TimestampTz now; /* of this turn */
	TimestampTz last_look;
	uint64_t	seen_since; /* value of unseen_since that the last look has taken care of, or 0 */
	TimestampTz last_record;
	int64_t		linger_us; /* pause between two looks, grows with what a look finds */
	double		rate;	   /* rows a second that became visible lately */
	TimestampTz paced_at;  /* when that was reckoned */

	/* parking place */
	int64_t		parked; /* rows that block their sessions */
	int64_t		delayed;
	TimestampTz next_due;	   /* 0: nothing waits for a time */
	TimestampTz parked_oldest; /* 0: none */
	bool		park_changed;  /* the two above are to be read again */

	/* courier */
	TimestampTz courier_retry_at; /* not started again before this */
	int			courier_failures;
	TimestampTz courier_started;
	bool		unsent; /* the window may hold rows that this courier has not got */
	bool		alone;	/* and it has but one at a time, until the row is found that kills it */
	TimestampTz last_heard;
	TimestampTz last_ping;
} SmemShipper;

extern PGDLLEXPORT void smem_shipper_main(Datum arg);

/* feed.c: hands rows to the courier. */
extern void smem_feed_start(SmemShipper *sh);
extern void smem_feed(SmemShipper *sh);
extern bool smem_feed_wants_look(SmemShipper *sh);
extern bool smem_feed_unread(SmemShipper *sh);

/* Moves the position over steps of which nothing is left. */
extern void smem_feed_retire(SmemShipper *sh);

/* settle.c: takes outcomes and records them. */
extern void		   smem_settle_receive(SmemShipper *sh);
extern void		   smem_settle_record(SmemShipper *sh, bool force);
extern TimestampTz smem_settle_due(SmemShipper *sh);

#endif
