/*
 * The life of a worker without a database, of which the server has one: it
 * keeps a courier, hands it the settings, and tells in its slot how that goes.
 *
 * A courier that ends, talks nonsense or is silent for 10 s is replaced: the
 * first time at once, then with growing pauses.
 */
#ifndef SMEM_WORKER_ATTENDANT_H
#define SMEM_WORKER_ATTENDANT_H

#include "pg/shmem.h"

typedef struct SmemAttendantOps
{
	const char *name; /* in messages, such as "policy worker" */

	/* Appends the CONFIG frame. */
	void (*config)(SmemBuf *out);

	/* Takes a frame of its courier's own and may append answers; false where it makes no sense.  NULL: there are none. */
	bool (*frame)(uint8_t type, SmemReader *rd, SmemBuf *out);

	/* What the courier tells of itself has arrived.  May be NULL. */
	void (*told)(const SmemSinkState *state);

	/* The courier was lost, and another one is wanted.  May be NULL. */
	void (*lost)(void);

	/* The courier was ended, or lost.  May be NULL. */
	void (*stopped)(void);
} SmemAttendantOps;

/* Takes the place, and serves until the server or the launcher ends the process.  Does not return. */
extern void smem_attend(SmemSinkSlot *slot, const SmemAttendantOps *ops);

#endif
