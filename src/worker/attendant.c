#include "postgres.h"

#include "worker/attendant.h"

#include "common/pg_prng.h"
#include "core/encode.h"
#include "core/retry.h"
#include "miscadmin.h"
#include "pg/link.h"
#include "pg/ticks.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "worker/slot.h"

#define PING_US ((int64) 1000000)
#define SILENCE_US ((int64) 10000000)
#define STEADY_US ((int64) 10000000)
#define IDLE_MS 1000

/* Times are those of the clock that nobody sets. */
typedef struct SmemAttendant
{
	SmemSinkSlot		   *slot;
	const SmemAttendantOps *ops;
	SmemLink				link;
	int64					now; /* of this turn */
	int64					started;
	int64					last_heard;
	int64					last_ping;
	int64					retry_at;
	int						failures; /* couriers in a row that did not live long */
} SmemAttendant;

static SmemAttendant worker;

static void
set_error(SmemSinkSlot *slot, SmemStr text)
{
	SmemStr cut = smem_cut_text(text, SMEM_ERROR_LEN - 1);

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	if (cut.len > 0)
		memcpy(slot->last_error, cut.data, cut.len);
	slot->last_error[cut.len] = '\0';
	LWLockRelease(smem_shared->lock);
}

static void
set_courier(SmemSinkSlot *slot, pid_t pid)
{
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	slot->courier_pid = pid;
	LWLockRelease(smem_shared->lock);
}

static void
stop_courier(SmemAttendant *at)
{
	pg_atomic_write_u32(&at->slot->circuit, SMEM_CIRCUIT_OPEN);
	smem_link_close(&at->link);
	if (at->ops->stopped != NULL)
		at->ops->stopped();
	set_courier(at->slot, 0);
}

/* The courier died or could not be started: the first restart is immediate, further ones back off. */
static void
lose_courier(SmemAttendant *at, const char *why)
{
	SmemRetry retry = {.initial = 100 * SMEM_MSEC, .max = 10 * SMEM_SEC};

	stop_courier(at);
	if (at->now - at->started > STEADY_US)
		at->failures = 0;
	if (at->failures == 0)
		ereport(LOG, (errmsg("courier of the %s %s; starting another", at->ops->name, why)));
	at->retry_at = at->now + smem_retry_delay(&retry, (uint32_t) at->failures,
											  pg_prng_uint64(&pg_global_prng_state));
	at->failures++;
	set_error(at->slot, smem_str(why));
	if (at->ops->lost != NULL)
		at->ops->lost();
}

static void
start_courier(SmemAttendant *at)
{
	char why[128];

	if (at->now < at->retry_at)
		return;
	at->started = at->last_heard = at->last_ping = at->now;
	if (!smem_link_open(&at->link))
	{
		snprintf(why, sizeof(why), "could not be started: %s", strerror(errno));
		lose_courier(at, why);
		return;
	}
	set_courier(at->slot, at->link.pid);
	at->ops->config(&at->link.out);
}

static void
take_state(SmemAttendant *at, SmemReader *rd)
{
	SmemSinkState state;

	smem_get_state(rd, &state);
	if (rd->bad)
		return;
	set_error(at->slot, state.last_error);
	pg_atomic_write_u32(&at->slot->circuit, state.circuit);
	if (at->ops->told != NULL)
		at->ops->told(&state);
}

static void
take_frame(SmemAttendant *at, uint8_t type, SmemReader *rd)
{
	switch (type)
	{
		case SMEM_FRAME_STATE:
			take_state(at, rd);
			break;
		case SMEM_FRAME_HELLO:
			rd->bad = smem_get_u32(rd) != SMEM_FRAME_VERSION;
			break;
		case SMEM_FRAME_PONG:
			break;
		default:
			if (at->ops->frame == NULL || !at->ops->frame(type, rd, &at->link.out))
				rd->bad = true;
	}
}

/* Takes every whole frame that has arrived; false when one makes no sense. */
static bool
take_frames(SmemAttendant *at)
{
	SmemReader		rd;
	SmemFrameStatus status;
	uint8_t			type;

	while ((status = smem_frame_next(&at->link.in, &type, &rd)) == SMEM_FRAME_READY)
	{
		at->last_heard = at->now;
		take_frame(at, type, &rd);
		if (rd.bad)
			return false;
		smem_buf_consume(&at->link.in, smem_frame_size(&at->link.in));
	}
	return status != SMEM_FRAME_REFUSED;
}

static void
ping_courier(SmemAttendant *at)
{
	if (at->now - at->last_heard > SILENCE_US)
		lose_courier(at, "did not answer for 10 s");
	else if (at->now - at->last_ping >= PING_US)
	{
		smem_frame_number(&at->link.out, SMEM_FRAME_PING, (uint64_t) at->now);
		at->last_ping = at->now;
	}
}

static void
serve_courier(SmemAttendant *at)
{
	if (at->link.fd >= 0)
	{
		bool alive = smem_link_receive(&at->link);

		if (!take_frames(at))
			lose_courier(at, "said something that makes no sense");
		else if (!alive)
			lose_courier(at, "ended unexpectedly");
		else
			ping_courier(at);
	}
	if (at->link.fd < 0)
		start_courier(at);
	if (at->link.fd >= 0 && !smem_link_send(&at->link))
		lose_courier(at, "ended unexpectedly");
}

static void
reload(SmemAttendant *at)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (at->link.fd >= 0)
		at->ops->config(&at->link.out);
}

static void
wait_for_work(SmemAttendant *at)
{
	int	 events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	long timeout = IDLE_MS;

	if (at->link.fd < 0)
		timeout = Max(0, Min(timeout, (at->retry_at - at->now + 999) / 1000));
	else
		events |= WL_SOCKET_READABLE;
	if (at->link.fd >= 0 && smem_buf_len(&at->link.out) > 0)
		events |= WL_SOCKET_WRITEABLE;
	(void) WaitLatchOrSocket(MyLatch, events, at->link.fd >= 0 ? at->link.fd : PGINVALID_SOCKET,
							 timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

static void
leave(int code, Datum arg)
{
	stop_courier(&worker);
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	smem_slot_vacate(worker.slot, code == 0);
	LWLockRelease(smem_shared->lock);
	smem_wake_launcher();
}

/* Whether the place is free for this process. */
static bool
enter(SmemSinkSlot *slot)
{
	bool vacant;

	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	vacant = slot->pid == 0;
	if (vacant)
		smem_slot_occupy(slot);
	LWLockRelease(smem_shared->lock);
	return vacant;
}

void
smem_attend(SmemSinkSlot *slot, const SmemAttendantOps *ops)
{
	SmemAttendant *at = &worker;

	at->slot = slot;
	at->ops = ops;
	smem_link_init(&at->link);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	if (!enter(at->slot))
		proc_exit(0);
	before_shmem_exit(leave, 0);
	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		reload(at);
		at->now = smem_ticks_us();
		serve_courier(at);
		pg_atomic_write_u64(&at->slot->beat, (uint64) GetCurrentTimestamp());
		wait_for_work(at);
	}
	proc_exit(0);
}
