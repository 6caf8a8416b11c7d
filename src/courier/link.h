/*
 * The courier's end of the socket pair: frames in, frames out.
 *
 * Reading is bounded: no more is read while the sink has no room, or while
 * the worker does not take what waits for it.  Any failure of the link, the
 * other side's end of file included, sets link->over: the program ends.
 */
#ifndef SMEM_COURIER_LINK_H
#define SMEM_COURIER_LINK_H

#include "courier/sink.h"

typedef struct SmemLink SmemLink;

struct SmemLink
{
	SmemHost *host;
	int		  fd;
	SmemBuf	  in;
	SmemBuf	  out;
	uint32_t  events;	/* that the loop watches for */
	bool	  readable; /* more may be in the socket */
	bool	  over;
	SmemTime  state_due;  /* no STATE is sent before */
	SmemBuf	  state_sent; /* the last STATE frame */
	SmemBuf	  state_now;
	bool	  told_paused; /* by the last STATE */
	bool	  told_busy;   /* by the last STATE: something was in flight */
};

extern void smem_link_open(SmemLink *link, SmemHost *host, int fd);
extern void smem_link_close(SmemLink *link);

/* Reads what is there, up to a bound; false when there is nothing. */
extern bool smem_link_read(SmemLink *link);

/* The next whole frame.  It stays where it is until smem_link_done. */
extern bool smem_link_frame(SmemLink *link, uint8_t *type, SmemReader *rd);
extern void smem_link_done(SmemLink *link);

extern void smem_link_hello(SmemLink *link);
extern void smem_link_pong(SmemLink *link, uint64_t number);

/* Queues the outcomes that the host has collected as one frame, then its other frames. */
extern void smem_link_outcomes(SmemLink *link);

/*
 * Queues the state where it differs from the last one, at most ten times a
 * second, but at once where somebody waits for that very change.  Returns when
 * a change that had to wait is due, else NEVER.
 */
extern SmemTime smem_link_state(SmemLink *link, const SmemSinkState *state);

/* Writes what the socket takes, and watches for what is wanted. */
extern void smem_link_flush(SmemLink *link, bool want_rows);

#endif
