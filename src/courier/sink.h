/*
 * What a sink is to the courier's loop, and what the loop is to a sink.
 *
 * One turn of the loop: wait; call the watchers of what became ready; read
 * what the worker sent, which calls accept for each row; tick; ask for the
 * state; send outcomes and state.  Everything happens on this one thread, and
 * no operation may block.  A sink with threads of its own inside (librdkafka)
 * has them write to a descriptor that it watches.
 *
 * The host's clock is taken once a turn, after the wait.
 */
#ifndef SMEM_COURIER_SINK_H
#define SMEM_COURIER_SINK_H

#include "core/frame.h"
#include "core/time.h"
#include "courier/config.h"
#include "courier/loop.h"

typedef struct SmemHost
{
	SmemLoop *loop;
	SmemTime  now;		/* monotonic, of this turn */
	int64_t	  wall_us;	/* Unix epoch, of this turn */
	SmemBuf	 *outcomes; /* the frame that this turn collects; use smem_host_outcome */
	uint32_t  outcome_count;
	SmemBuf	 *frames; /* whole frames, which follow this turn's outcomes */
	bool	  broken; /* set by a sink that must not go on: the program ends after this turn */
} SmemHost;

typedef struct SmemSinkOps
{
	const char *name; /* value of the setting "sink" */

	/* Makes the sink; called once, before the first configure.  NULL when out of memory. */
	void *(*open)(SmemHost *host);

	/*
	 * Takes the settings, at start and at each reload, whatever waits or is
	 * on the wire.  Settings that cannot be used are the sink's trouble: they
	 * show in the state, and rows wait until a later configure or the sink's
	 * own next try cures them.
	 */
	void (*configure)(void *sink, const SmemConfig *config);

	/*
	 * Takes a row.  Its strings last only for the call.  The outcome comes
	 * later, or at once.  False: out of memory; the program ends, and the
	 * worker sends again what has no outcome.
	 */
	bool (*accept)(void *sink, const SmemRow *row);

	/* False: no more rows are read from the worker until it is true again. */
	bool (*has_room)(void *sink);

	/* Forgets every pause; what waits is tried in the next tick. */
	void (*try_now)(void *sink);

	/*
	 * True: from now on nothing new goes out, not even a probe, and what is on
	 * the wire comes to its end.  False: it goes on.
	 */
	void (*pause)(void *sink, bool paused);

	/* The worker has recorded the page; false where that makes no sense.  NULL: there are none. */
	bool (*recorded)(void *sink, uint64_t page);

	/* A frame of the sink's own (core/web.h); false where that makes no sense.  NULL: there are none. */
	bool (*frame)(void *sink, uint8_t type, SmemReader *rd);

	/*
	 * Does what is due: starts requests, ends waits.  Returns when it must be
	 * called again at the latest, SMEM_TIME_NEVER when only an event can
	 * bring work.
	 */
	SmemTime (*tick)(void *sink);

	/* Fills in the state but for paused; last_error stays valid until the next call into the sink. */
	void (*state)(void *sink, SmemSinkState *state);

	/* Gives everything back at once; waits for nothing on the wire. */
	void (*close)(void *sink);
} SmemSinkOps;

/* Hands an outcome to the worker with this turn's frame; at_us is filled in when it is 0. */
extern void smem_host_outcome(SmemHost *host, const SmemOutcome *out);

/* The wall clock's time of a monotonic one, for SmemSinkState.next_attempt_us; 0 for NEVER. */
extern int64_t smem_host_wall(const SmemHost *host, SmemTime at);

extern const SmemSinkOps smem_somabrain_sink;
extern const SmemSinkOps smem_kafka_sink;
extern const SmemSinkOps smem_opa_sink;
extern const SmemSinkOps smem_web_sink;

#endif
