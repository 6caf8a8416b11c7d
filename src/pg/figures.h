/*
 * A sink's figures, as shared memory has them now.
 */
#ifndef SMEM_PG_FIGURES_H
#define SMEM_PG_FIGURES_H

#include "pg/shmem.h"

typedef struct SmemFigures
{
	SmemWorkerState state;
	pid_t			pid;
	pid_t			courier_pid;
	TimestampTz		started_at;
	char			last_error[SMEM_ERROR_LEN];
	uint32_t		circuit;
	bool			counted; /* pending and since when are known */
	int64_t			pending;
	int64_t			parked;
	int64_t			dead;
	TimestampTz		oldest_pending_at; /* 0: none */
	double			lag_seconds;
	TimestampTz		last_success_at; /* 0: none */
	bool			stalled;		 /* runs, but has not turned for a while */
	bool			paused;			 /* runs, and sends nothing because an operator said so */
} SmemFigures;

extern void smem_figures_read(SmemDatabaseSlot *db, SmemSink sink, TimestampTz now,
							  SmemFigures *fig);

/* Counts violations of the service level in every database by now, also where no shipper lives to do so. */
extern void smem_figures_judge(TimestampTz now);

/* Of any worker's place: state to last_error, circuit, stalled and paused; the rest is 0. */
extern void smem_figures_read_slot(SmemSinkSlot *slot, TimestampTz now, SmemFigures *fig);

/* "closed", "half-open", "open"; "running", "paused", "starting", "backoff", "stopped". */
extern const char *smem_circuit_name(uint32_t circuit);
extern const char *smem_worker_state_name(const SmemFigures *fig);

#endif
