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
#include "access/xlogdefs.h"
#include "pg/link.h"
#include "pg/shmem.h"
#include "utils/hsearch.h"
#include "worker/stream.h"

typedef struct SmemTally SmemTally;

typedef struct SmemShipper
{
	SmemSink		  sink;
	SmemDatabaseSlot *db;
	SmemSinkSlot	 *slot;
	MemoryContext	  context; /* the process's life */
	MemoryContext	  turn;	   /* one turn */
	SmemLink		  link;
	SmemWindow		  window;

	bool	   blank; /* no id was handed out and nothing recorded, when last looked */
	SmemStream stream[SMEM_DETOURS + 1]; /* the main one first, each with the list of its number */
	XLogRecPtr gate;		  /* nothing is read before the standbys have this; 0: they have */
	int		   turn_of;		  /* the detour that is read first in the next turn */
	int64_t	   last_detour;	  /* greatest number that was given to one */
	uint64_t   recorded_high; /* greatest id that was recorded */
	bool	   exists;		  /* false: the extension is gone */

	/* pace; times in microseconds as TimestampTz */
	TimestampTz now;		 /* of this turn */
	int64_t		clock_ahead; /* of one that nobody sets, then */
	TimestampTz last_look;
	uint64_t	seen_since; /* value of unseen_since that the last look has taken care of, or 0 */
	TimestampTz last_record;
	int64_t		linger_us; /* pause between two looks, grows with what a look finds */
	double		rate;	   /* rows a second that became visible lately */
	TimestampTz paced_at;  /* when that was reckoned */
	TimestampTz last_maintained;

	/* figures */
	SmemTally *tally;
	uint64_t   retries_before; /* those of earlier couriers, and of rows that were parked */
	TimestampTz
		unread_oldest; /* commit of the oldest row behind the position, until the first is read; 0: none */
	bool park_uncounted; /* the parking place has changed since its tenants were counted */

	/* parking place */
	int64_t		parked; /* rows that block their sessions */
	int64_t		delayed;
	TimestampTz next_due;	   /* 0: nothing waits for a time */
	TimestampTz parked_oldest; /* 0: none */
	bool		park_changed;  /* the two above are to be read again */
	bool		hasten; /* and turns may lie further ahead than any pause, by another clock */

	/* operators and the postmaster */
	bool levers;   /* what operators decide is to be read again */
	bool paused;   /* by an operator */
	bool stopping; /* what is on the wire comes to its end, and then this process */
	bool news;	   /* dead letters may be there that nobody was told of */

	/* exactly once */
	bool	   exact;	  /* the courier that runs writes transactions */
	bool	   ready;	  /* it may be sent rows */
	int64_t	   page;	  /* the last transaction that is recorded */
	int64_t	   page_done; /* the last one that the sink has */
	XLogRecPtr page_gate; /* the standbys must have that record before the next; 0: they have */
	int64_t	   page_told; /* the last one that the courier was told to be recorded */
	int64_t	  *had;		  /* rows that the sink has, as it said when the courier began */
	int		   nhad;
	bool	   heard_committed; /* the courier has said what the sink has */
	bool	   had_known;		/* and that is to be recorded: had */
	HTAB	  *ahead;			/* such rows that no position has passed; NULL: none ever */
	int64_t	   suspect; /* row that may have killed the courier, unless the sink has it; 0: none */

	/* courier */
	uint32_t	in_flight; /* as it said last */
	bool		courier_paused;
	TimestampTz courier_retry_at; /* not started again before this */
	int			courier_failures;
	TimestampTz courier_started;
	bool		unsent; /* the window may hold rows that this courier has not got */
	bool		alone;	/* and it has but one at a time, until the row is found that kills it */
	TimestampTz last_heard;
	TimestampTz last_ping;
} SmemShipper;

extern PGDLLEXPORT void smem_shipper_main(Datum arg);

/* tally.c: the figures that others see. */
typedef struct SmemRecord SmemRecord;

/*
 * In a transaction: counts what is pending, from the position on.  committed
 * is the database's figure just before the transaction: what is committed
 * later is not seen, and counts by itself.
 */
extern void smem_tally_start(SmemShipper *sh, const SmemPosition *position, uint64 committed);

/* A turn begins and ends; of the time between is known what the worker itself takes for its rows. */
extern void smem_tally_begin(SmemShipper *sh);
extern void smem_tally_end(SmemShipper *sh, TimestampTz oldest);

/* The record is committed, and its entries are still there. */
extern void smem_tally_record(SmemShipper *sh, const SmemRecord *rec);

/* The row waits for its time, and is owed to nobody until then. */
extern void smem_tally_delayed(SmemShipper *sh, const SmemEntry *entry);

/* Delayed rows of these tenants have joined their sessions. */
extern void smem_tally_woken(SmemShipper *sh, char **tenants, int n);

/* The courier has said how the sink does; the courier is lost. */
extern void smem_tally_state(SmemShipper *sh, const SmemSinkState *state);
extern void smem_tally_lost(SmemShipper *sh);

static inline SmemStream *
smem_main_stream(SmemShipper *sh)
{
	return &sh->stream[SMEM_LIST_MAIN];
}

/* feed.c: reads the main stream, and hands rows to the courier. */
extern void smem_feed_start(SmemShipper *sh);
extern void smem_feed(SmemShipper *sh);

/* Whether a turn would find something to read or to send at once. */
extern bool smem_feed_has_work(SmemShipper *sh);

/* Puts a row of a stream into the window; it goes to the courier unless it must wait. */
extern void smem_feed_row(SmemShipper *sh, SmemStream *st, SmemOutboxRow *row);
extern void smem_feed_offer(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row);
extern void smem_feed_send(SmemShipper *sh, SmemEntry *entry, SmemOutboxRow *row);
extern bool smem_feed_socket_full(SmemShipper *sh);

/* Moves every stream over steps of which nothing is left. */
extern void smem_feed_retire(SmemShipper *sh);

/* due.c: rows from the parking place. */
extern bool smem_due_now(SmemShipper *sh);
extern void smem_due_feed(SmemShipper *sh);
extern void smem_due_refresh(SmemShipper *sh);

/*
 * This process ends at somebody's word, and what its courier holds with it:
 * that is no row's fault, so attempts without an outcome are not counted, and
 * the rows are due at once.
 */
extern void smem_due_give_back(SmemShipper *sh);

/* resend.c: what a new courier has not got yet. */
extern void smem_resend(SmemShipper *sh);

/* tenants.c: who goes a way of his own.  In transactions, where not said otherwise. */
extern void smem_tenants_start(SmemShipper *sh);
extern void smem_tenants_read(SmemShipper *sh);

/* Rows that the main stream may read on; no transaction needed. */
extern int smem_tenants_main_room(SmemShipper *sh);

/* Makes room for others where one tenant fills the window; no transaction needed. */
extern void smem_tenants_make_room(SmemShipper *sh);

/* The sink wants nothing of the tenant for a while; no transaction needed. */
extern void smem_tenants_hold(SmemShipper *sh, const char *tenant, TimestampTz until);

/* Nobody is held any longer; no transaction needed. */
extern void smem_tenants_release(SmemShipper *sh);

/* Whether no tenant is on a detour, nor was one of which something is left. */
extern bool smem_tenants_none(SmemShipper *sh);

/* Names of those whom the main stream passes by, for its filter. */
extern void smem_tenants_filter(SmemShipper *sh, SmemFilter *filter);

/* Whether a row that the main stream reads was, or is to be, read by a detour that has ended. */
extern bool smem_tenants_passed(SmemShipper *sh, const SmemOutboxRow *row);

/* Whether a detour has something to read at this moment; else when that is to be asked again, or 0. */
extern bool smem_tenants_have_work(SmemShipper *sh, TimestampTz *again);

/*
 * Nothing of the detour is in the window, and a main stream that begins anew
 * would read nothing of it either: the next record may forget it.
 */
extern bool smem_tenants_is_over(SmemShipper *sh, SmemStream *st);
extern bool smem_tenants_news(SmemShipper *sh);
extern void smem_tenants_forget(SmemShipper *sh);

/* control.c: what operators and the postmaster want. */
extern void smem_control_install(void);
extern bool smem_control_stop_wanted(void);

/* In a transaction: reads what operators decided. */
extern void smem_control_read(SmemShipper *sh);

/* Notices that there is something to read, and tells the courier what it must know. */
extern void smem_control_check(SmemShipper *sh);
extern void smem_control_greet(SmemShipper *sh);

/* Lets what is on the wire come to its end, for a moment, and records it. */
extern void smem_control_wind_down(SmemShipper *sh);

/* news.c: hands news of dead letters to the courier.  In a transaction. */
extern void smem_news_feed(SmemShipper *sh);
extern bool smem_news_due(SmemShipper *sh);

/* The courier is gone: what it had not told is read again. */
extern void smem_news_drop(SmemShipper *sh);

/* exact.c: exactly once. */
extern void smem_exact_start(SmemShipper *sh);
extern void smem_exact_greet(SmemShipper *sh);
extern void smem_exact_take_committed(SmemShipper *sh, SmemReader *rd);
extern void smem_exact_take_page(SmemShipper *sh, SmemReader *rd);

/* Whether a record must be made for a page's sake. */
extern bool smem_exact_due(const SmemShipper *sh);

/* Whether the log says already that the sink has the row. */
extern bool smem_exact_is_ahead(const SmemShipper *sh, int64_t id);
extern void smem_exact_note_ahead(SmemShipper *sh, const int64_t *ids, int n);
extern void smem_exact_forget_ahead(SmemShipper *sh, const int64_t *ids, int n);

/* The record that was due is made. */
extern void smem_exact_recorded(SmemShipper *sh);

/* Tells the courier, once the standbys have the record, too; whether that is still to come. */
extern bool smem_exact_tell(SmemShipper *sh);

/* settle.c: takes outcomes and records them. */
extern void		   smem_settle_receive(SmemShipper *sh);
extern void		   smem_settle_record(SmemShipper *sh, bool force);
extern TimestampTz smem_settle_due(SmemShipper *sh);

#endif
