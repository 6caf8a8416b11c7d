/*
 * The ring of outbox segments: which one writers append to, and its turning.
 *
 * Writing into a segment that is no longer the current one is harmless: a
 * segment is emptied only under a lock that keeps every writer out, after
 * all its rows are behind every sink.  So the current segment is advice.
 */
#ifndef SMEM_OUTBOX_RING_H
#define SMEM_OUTBOX_RING_H

/* The segment to append to. */
extern int smem_ring_current(void);

/*
 * Turns the ring when the current segment is old enough and the next is
 * empty, and empties what every sink has behind it and is past retention.
 * Runs in transactions of its own; call outside of one.
 */
extern void smem_ring_maintain(void);

/* Whether a sealed segment waits for the sinks' positions to pass it.  Outside a transaction. */
extern bool smem_ring_waits(void);

#endif
