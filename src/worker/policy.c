#include "postgres.h"

#include "worker/policy.h"

#include <unistd.h>

#include "common/pg_prng.h"
#include "core/ask.h"
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
#include "worker/config.h"
#include "worker/slot.h"

#define PING_US ((int64) 1000000)
#define SILENCE_US ((int64) 10000000)
#define STEADY_US ((int64) 10000000)
#define IDLE_MS 1000

/* Times are those of the clock that nobody sets. */
typedef struct SmemPolicyWorker
{
	SmemSinkSlot *slot;
	SmemLink	  link;
	int64		  now; /* of this turn */
	int64		  started;
	int64		  last_heard;
	int64		  last_ping;
	int64		  retry_at;
	int			  failures; /* couriers in a row that did not live long */
} SmemPolicyWorker;

static SmemPolicyWorker worker;

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

/* Sessions refuse from now on; who connects to what is left would wait for nobody. */
static void
stop_courier(SmemPolicyWorker *pw)
{
	pg_atomic_write_u32(&pw->slot->circuit, SMEM_CIRCUIT_OPEN);
	smem_link_close(&pw->link);
	(void) unlink(SMEM_ASK_SOCKET);
	set_courier(pw->slot, 0);
}

/* The courier died or could not be started: the first restart is immediate, further ones back off. */
static void
lose_courier(SmemPolicyWorker *pw, const char *why)
{
	SmemRetry retry = {.initial = 100 * SMEM_MSEC, .max = 10 * SMEM_SEC};

	stop_courier(pw);
	if (pw->now - pw->started > STEADY_US)
		pw->failures = 0;
	if (pw->failures == 0)
		ereport(LOG, (errmsg("courier of the policy worker %s; starting another", why)));
	pw->retry_at = pw->now + smem_retry_delay(&retry, (uint32_t) pw->failures,
											  pg_prng_uint64(&pg_global_prng_state));
	pw->failures++;
	set_error(pw->slot, smem_str(why));
}

static void
start_courier(SmemPolicyWorker *pw)
{
	char why[128];

	if (pw->now < pw->retry_at)
		return;
	pw->started = pw->last_heard = pw->last_ping = pw->now;
	if (!smem_link_open(&pw->link))
	{
		snprintf(why, sizeof(why), "could not be started: %s", strerror(errno));
		lose_courier(pw, why);
		return;
	}
	set_courier(pw->slot, pw->link.pid);
	smem_config_policy_frame(&pw->link.out);
}

static void
take_state(SmemPolicyWorker *pw, SmemReader *rd)
{
	SmemSinkState state;

	smem_get_state(rd, &state);
	if (rd->bad)
		return;
	set_error(pw->slot, state.last_error);
	pg_atomic_write_u32(&pw->slot->circuit, state.circuit);
}

/* Takes every whole frame that has arrived; false when one makes no sense. */
static bool
take_frames(SmemPolicyWorker *pw)
{
	SmemReader		rd;
	SmemFrameStatus status;
	uint8_t			type;

	while ((status = smem_frame_next(&pw->link.in, &type, &rd)) == SMEM_FRAME_READY)
	{
		pw->last_heard = pw->now;
		if (type == SMEM_FRAME_STATE)
			take_state(pw, &rd);
		else if (type == SMEM_FRAME_HELLO)
			rd.bad = smem_get_u32(&rd) != SMEM_FRAME_VERSION;
		else if (type != SMEM_FRAME_PONG)
			rd.bad = true;
		if (rd.bad)
			return false;
		smem_buf_consume(&pw->link.in, smem_frame_size(&pw->link.in));
	}
	return status != SMEM_FRAME_REFUSED;
}

static void
ping_courier(SmemPolicyWorker *pw)
{
	if (pw->now - pw->last_heard > SILENCE_US)
		lose_courier(pw, "did not answer for 10 s");
	else if (pw->now - pw->last_ping >= PING_US)
	{
		smem_frame_number(&pw->link.out, SMEM_FRAME_PING, (uint64_t) pw->now);
		pw->last_ping = pw->now;
	}
}

static void
serve_courier(SmemPolicyWorker *pw)
{
	if (pw->link.fd >= 0)
	{
		bool alive = smem_link_receive(&pw->link);

		if (!take_frames(pw))
			lose_courier(pw, "said something that makes no sense");
		else if (!alive)
			lose_courier(pw, "ended unexpectedly");
		else
			ping_courier(pw);
	}
	if (pw->link.fd < 0)
		start_courier(pw);
	if (pw->link.fd >= 0 && !smem_link_send(&pw->link))
		lose_courier(pw, "ended unexpectedly");
}

static void
reload(SmemPolicyWorker *pw)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (pw->link.fd >= 0)
		smem_config_policy_frame(&pw->link.out);
}

static void
wait_for_work(SmemPolicyWorker *pw)
{
	int	 events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	long timeout = IDLE_MS;

	if (pw->link.fd < 0)
		timeout = Max(0, Min(timeout, (pw->retry_at - pw->now + 999) / 1000));
	else
		events |= WL_SOCKET_READABLE;
	if (pw->link.fd >= 0 && smem_buf_len(&pw->link.out) > 0)
		events |= WL_SOCKET_WRITEABLE;
	(void) WaitLatchOrSocket(MyLatch, events, pw->link.fd >= 0 ? pw->link.fd : PGINVALID_SOCKET,
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
smem_policy_main(Datum arg)
{
	SmemPolicyWorker *pw = &worker;

	pw->slot = &smem_shared->policy;
	smem_link_init(&pw->link);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	if (!enter(pw->slot))
		proc_exit(0);
	before_shmem_exit(leave, 0);
	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		reload(pw);
		pw->now = smem_ticks_us();
		serve_courier(pw);
		pg_atomic_write_u64(&pw->slot->beat, (uint64) GetCurrentTimestamp());
		wait_for_work(pw);
	}
	proc_exit(0);
}
