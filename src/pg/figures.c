#include "postgres.h"

#include "pg/figures.h"

#include "pg/meter.h"
#include "pg/settings.h"
#include "utils/timestamp.h"

#define STALLED_US ((int64) 15000000)

const char *
smem_circuit_name(uint32_t circuit)
{
	switch (circuit)
	{
		case SMEM_CIRCUIT_OPEN:
			return "open";
		case SMEM_CIRCUIT_HALF_OPEN:
			return "half-open";
		default:
			return "closed";
	}
}

const char *
smem_worker_state_name(const SmemFigures *fig)
{
	switch (fig->state)
	{
		case SMEM_WORKER_STARTING:
			return "starting";
		case SMEM_WORKER_RUNNING:
			return fig->paused ? "paused" : "running";
		case SMEM_WORKER_BACKOFF:
			return "backoff";
		default:
			return "stopped";
	}
}

/* The older of what the shipper holds and what it has not looked at yet. */
static TimestampTz
oldest(SmemSinkSlot *slot)
{
	TimestampTz held = (TimestampTz) pg_atomic_read_u64(&slot->oldest_pending);
	TimestampTz unseen = (TimestampTz) pg_atomic_read_u64(&slot->unseen_since);

	if (held == 0 || (unseen != 0 && unseen < held))
		return unseen;
	return held;
}

void
smem_figures_read_slot(SmemSinkSlot *slot, TimestampTz now, SmemFigures *fig)
{
	TimestampTz beat;

	memset(fig, 0, sizeof(*fig));
	LWLockAcquire(smem_shared->lock, LW_SHARED);
	fig->state = slot->state;
	fig->pid = slot->pid;
	fig->courier_pid = slot->courier_pid;
	fig->started_at = slot->started_at;
	strlcpy(fig->last_error, slot->last_error, SMEM_ERROR_LEN);
	LWLockRelease(smem_shared->lock);
	fig->circuit = pg_atomic_read_u32(&slot->circuit);
	beat = (TimestampTz) pg_atomic_read_u64(&slot->beat);
	fig->paused = fig->state == SMEM_WORKER_RUNNING && pg_atomic_read_u32(&slot->paused) != 0;
	fig->stalled = fig->state == SMEM_WORKER_RUNNING && beat != 0 && now - beat > STALLED_US;
}

void
smem_figures_read(SmemDatabaseSlot *db, SmemSink sink, TimestampTz now, SmemFigures *fig)
{
	SmemSinkSlot *slot = &db->sink[sink];

	smem_figures_read_slot(slot, now, fig);
	fig->counted = pg_atomic_read_u32(&slot->counted) != 0;
	fig->parked = pg_atomic_read_u32(&slot->parked);
	fig->dead = pg_atomic_read_u32(&slot->dead);
	fig->last_success_at = (TimestampTz) pg_atomic_read_u64(&slot->last_success);
	fig->oldest_pending_at = oldest(slot);
	if (fig->oldest_pending_at != 0)
	{
		/* The two figures are not read at one moment: something is pending, so one at the least. */
		fig->pending =
			(int64) (pg_atomic_read_u64(&db->committed) - pg_atomic_read_u64(&slot->done));
		fig->pending = Max(fig->pending, 1);
		fig->lag_seconds = Max(0.0, (double) (now - fig->oldest_pending_at) / 1000000.0);
	}
}

void
smem_figures_judge(TimestampTz now)
{
	for (int i = 0; i < SMEM_MAX_DATABASES * SMEM_SINKS; i++)
	{
		SmemDatabaseSlot *db = &smem_shared->database[i / SMEM_SINKS];
		SmemSink		  sink = (SmemSink) (i % SMEM_SINKS);
		SmemFigures		  fig;
		char			  name[NAMEDATALEN];

		if (!smem_sink_enabled(sink) || !smem_database_served(db, name))
			continue;
		smem_figures_read(db, sink, now, &fig);
		smem_meter_judge(smem_meter(db, sink), fig.lag_seconds, now);
	}
}
