/*
 * What a shipper does at the word of others: operators pause it or want a
 * retry now, and who stops it gets what is on the wire recorded first.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "outbox/park.h"
#include "pg/query.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/clock.h"

/* What is on the wire has this long to come to its end. */
#define WIND_DOWN_US ((int64_t) 300000)

/* Who signals so often does not want to wait any longer. */
#define SIGNALS_TO_DIE 10

static volatile sig_atomic_t stop_signals = 0;

/*
 * The first signal asks for an end in good order.  A shipper that waits for a
 * lock has nothing on its mind but that, and may wait long: it ends at once.
 * One that is ending already may have left the shared memory.
 */
static void
take_stop_signal(SIGNAL_ARGS)
{
	int saved_errno = errno;

	stop_signals++;
	if (stop_signals >= SIGNALS_TO_DIE ||
		(MyProc != NULL && MyProc->waitStatus == PROC_WAIT_STATUS_WAITING))
		die(postgres_signal_arg);
	else
		SetLatch(MyLatch);
	errno = saved_errno;
}

void
smem_control_install(void)
{
	pqsignal(SIGTERM, take_stop_signal);
}

bool
smem_control_stop_wanted(void)
{
	return stop_signals > 0;
}

static bool
read_paused(SmemSink sink)
{
	static SmemQuery query = {
		"SELECT 1 FROM somamem.sink_state WHERE sink = $1 AND paused_at IS NOT NULL", 1, {TEXTOID}};
	Datum args[1] = {CStringGetTextDatum(smem_sink_name(sink))};

	return smem_query(&query, args, NULL, 1) > 0;
}

void
smem_control_read(SmemShipper *sh)
{
	int64_t dead;
	bool	paused = read_paused(sh->sink);

	smem_park_count(sh->sink, &sh->parked, &sh->delayed, &dead);
	pg_atomic_write_u32(&sh->slot->parked, (uint32) sh->parked);
	pg_atomic_write_u32(&sh->slot->dead, (uint32) dead);
	pg_atomic_write_u32(&sh->slot->paused, paused);
	if (paused != sh->paused && sh->link.fd >= 0)
		smem_frame_pause(&sh->link.out, paused);
	sh->paused = paused;
	sh->park_changed = true;
	sh->levers = false;
}

/* What a sink said about when to come back is not heeded this once, neither for itself nor for a tenant. */
static void
try_now(SmemShipper *sh)
{
	smem_tenants_release(sh);
	if (sh->link.fd >= 0)
		smem_frame_end(&sh->link.out, smem_frame_begin(&sh->link.out, SMEM_FRAME_TRY_NOW));
}

void
smem_control_check(SmemShipper *sh)
{
	if (pg_atomic_exchange_u32(&sh->slot->levers, 0) != 0)
		sh->levers = true;
	if (pg_atomic_exchange_u32(&sh->slot->try_now, 0) != 0)
		try_now(sh);
	if (sh->sink == SMEM_SINK_KAFKA && pg_atomic_exchange_u32(&sh->slot->news, 0) != 0)
		sh->news = true;
}

void
smem_control_greet(SmemShipper *sh)
{
	sh->in_flight = 0;
	sh->courier_paused = false;
	if (sh->paused)
		smem_frame_pause(&sh->link.out, true);
}

static bool
is_still(const SmemShipper *sh)
{
	return sh->courier_paused && sh->in_flight == 0 && !smem_exact_due(sh);
}

/* Waits for the courier to say more; false when time is up, or it is gone, which closes the link. */
static bool
hear(SmemShipper *sh, TimestampTz until)
{
	int	 events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | WL_SOCKET_READABLE;
	bool alive;

	if (sh->now >= until)
		return false;
	(void) smem_link_send(&sh->link);
	if (smem_buf_len(&sh->link.out) > 0)
		events |= WL_SOCKET_WRITEABLE;
	(void) WaitLatchOrSocket(MyLatch, events, sh->link.fd, (until - sh->now + 999) / 1000,
							 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	alive = smem_link_receive(&sh->link);
	smem_settle_receive(sh);
	if (!alive)
		smem_link_close(&sh->link);
	return alive;
}

void
smem_control_wind_down(SmemShipper *sh)
{
	TimestampTz until;

	(void) smem_clock_take(sh);
	until = sh->now + WIND_DOWN_US;
	sh->stopping = true;
	if (sh->link.fd >= 0)
		smem_frame_pause(&sh->link.out, true);
	while (sh->link.fd >= 0 && sh->exists && !is_still(sh))
	{
		MemoryContextSwitchTo(sh->turn);
		MemoryContextReset(sh->turn);
		until += smem_clock_take(sh);
		if (!hear(sh, until))
			break;
		smem_settle_record(sh, false);
		(void) smem_exact_tell(sh);
	}
	MemoryContextSwitchTo(sh->turn);
	if (sh->exists && smem_settle_due(sh) != 0)
		smem_settle_record(sh, true);
	if (sh->exists)
		smem_due_give_back(sh);
}
