/*
 * Askers: sessions that connect to the policy worker's courier by a socket in
 * the data directory, with the frames of core/ask.h.
 *
 * Everything is bounded: askers by the descriptors that there are, the
 * questions of one asker by SMEM_ASK_WAITING, what all of them have sent and
 * not yet an answer for by SMEM_ASKERS_BYTES.  Where there are too many, those
 * who want to connect wait.  An asker whose frames make no sense, or who
 * leaves, takes its questions along: gone tells each.
 */
#ifndef SMEM_COURIER_ASKER_H
#define SMEM_COURIER_ASKER_H

#include "core/ask.h"
#include "core/list.h"
#include "courier/sink.h"

#define SMEM_ASKERS_BYTES ((size_t) 192 * 1024 * 1024)

typedef struct SmemAskers SmemAskers;
typedef struct SmemAsker  SmemAsker;

typedef struct SmemQuestion
{
	SmemAskers *askers;
	SmemAsker  *asker;	  /* NULL: it has left */
	SmemNode	of_asker; /* in the asker's list */
	SmemNode	node;	  /* the taker's own */
	uint32_t	number;
	bool		denied; /* the decision is false, and its reason is asked for */
	SmemTime	deadline;
	SmemBuf		input; /* JSON text */
} SmemQuestion;

typedef struct SmemAskersOps
{
	/* A new question, the taker's from now on until it answers or releases it. */
	void (*take)(void *arg, SmemQuestion *question, uint32_t timeout_ms);

	/* Its asker has left: nobody waits for the answer.  It may be released here, or later. */
	void (*gone)(void *arg, SmemQuestion *question);
} SmemAskersOps;

/* NULL when out of memory. */
extern SmemAskers *smem_askers_open(SmemHost *host, const SmemAskersOps *ops, void *arg);
extern void		   smem_askers_close(SmemAskers *askers);

/* Why nobody can connect, or NULL. */
extern const char *smem_askers_error(const SmemAskers *askers);

/* Takes what came. */
extern void smem_askers_tick(SmemAskers *askers);

/* When there is something to do at the latest. */
extern SmemTime smem_askers_next(const SmemAskers *askers);

/* Sends the answer, and releases the question. */
extern void smem_ask_answer(SmemQuestion *question, SmemAskVerdict verdict, SmemStr rule,
							SmemStr reason);
extern void smem_ask_release(SmemQuestion *question);

#endif
