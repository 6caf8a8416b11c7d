/*
 * The shipper's main loop, and the life of its courier.
 *
 * The process waits in one place, at the end of a turn, for its latch, the
 * postmaster's death and the courier's socket.  An error anywhere ends the
 * process; the launcher starts it again and it goes on from its position.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "core/retry.h"
#include "miscadmin.h"
#include "outbox/retention.h"
#include "outbox/ring.h"
#include "pg/query.h"
#include "pg/settings.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/clock.h"
#include "worker/config.h"
#include "worker/launcher.h"
#include "worker/slot.h"

#define COURIER_PING_US ((int64_t) 1000000)
#define COURIER_SILENCE_US ((int64_t) 10000000)
#define COURIER_STEADY_US ((int64_t) 10000000)

/* One that lived so long did not die of what it held; of what three others held, too, it may have. */
#define COURIER_LONG_US ((int64_t) 60000000)
#define SUSPECT_DEATHS 3
#define IDLE_MS 1000

/* How often the standbys' confirmation is looked for. */
#define GATE_PAUSE_US ((int64_t) 2000)

static SmemShipper shipper;

static void
stop_courier(SmemShipper *sh)
{
	smem_link_close(&sh->link);
	if (sh->exact)
		sh->ready = false;
	sh->retries_before = pg_atomic_read_u64(&sh->slot->retries);
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	sh->slot->courier_pid = 0;
	LWLockRelease(smem_shared->lock);
}

/*
 * A row that a courier had alone when it died, after others had died with it,
 * is taken for the reason: it is parked, and tried a bounded number of times.
 */
static void
blame_row(SmemShipper *sh)
{
	SmemEntry *entry = NULL;
	bool	   lived = sh->now - sh->courier_started > COURIER_LONG_US;

	if (sh->alone && smem_window_under_way(&sh->window, &entry) == 1)
		sh->suspect = entry->id;
	smem_window_unsend(&sh->window, !lived);
	sh->alone = smem_window_suspects(&sh->window, SUSPECT_DEATHS);
	smem_news_drop(sh);
}

/* Once it is known that the sink has it not. */
static void
blame_suspect(SmemShipper *sh)
{
	static const SmemStr class = {"courier_died", 12};
	static const SmemStr reason = {"courier ended while it sent this row", 36};
	SmemOutcome			 out = {
				 .id = sh->suspect, .kind = SMEM_OUTCOME_FAILED, .class = class, .reason = reason};
	SmemEntry *entry = smem_window_find(&sh->window, sh->suspect);

	sh->suspect = 0;
	if (entry == NULL || entry->kind != 0)
		return;
	/* Each courier that it took along was an attempt. */
	entry->attempts += entry->deaths;
	smem_window_settle(&sh->window, entry, &out);
	entry->at = sh->now;
}

static void
set_error(SmemShipper *sh, const char *text)
{
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	strlcpy(sh->slot->last_error, text, SMEM_ERROR_LEN);
	LWLockRelease(smem_shared->lock);
}

/* The courier died or could not be started: the first restart is immediate, further ones back off. */
static void
lose_courier(SmemShipper *sh, const char *why)
{
	SmemRetry retry = {.initial = 100 * SMEM_MSEC, .max = 10 * SMEM_SEC};

	stop_courier(sh);
	blame_row(sh);
	if (sh->courier_failures > 0 && sh->now - sh->last_ping > COURIER_STEADY_US)
		sh->courier_failures = 0;
	if (sh->courier_failures == 0)
		ereport(LOG, (errmsg("courier of sink \"%s\" %s; starting another",
							 smem_sink_name(sh->sink), why)));
	sh->courier_retry_at = sh->now + smem_retry_delay(&retry, (uint32_t) sh->courier_failures,
													  pg_prng_uint64(&pg_global_prng_state));
	sh->courier_failures++;
	smem_tally_lost(sh);
	set_error(sh, why);
	pg_atomic_write_u32(&sh->slot->circuit, SMEM_CIRCUIT_OPEN);
}

static void
start_courier(SmemShipper *sh)
{
	if (sh->now < sh->courier_retry_at)
		return;
	if (!smem_link_open(&sh->link))
	{
		char why[128];

		snprintf(why, sizeof(why), "could not be started: %s", strerror(errno));
		lose_courier(sh, why);
		return;
	}
	LWLockAcquire(smem_shared->lock, LW_EXCLUSIVE);
	sh->slot->courier_pid = sh->link.pid;
	LWLockRelease(smem_shared->lock);
	pg_atomic_write_u32(&sh->slot->circuit, SMEM_CIRCUIT_CLOSED);
	sh->last_heard = sh->last_ping = sh->now;
	smem_config_frame(sh->sink, &sh->link.out);
	smem_control_greet(sh);
	smem_exact_greet(sh);
	sh->courier_started = sh->now;
	sh->unsent = true;
}

static void
ping_courier(SmemShipper *sh)
{
	size_t mark;

	if (sh->now - sh->last_heard > COURIER_SILENCE_US)
	{
		lose_courier(sh, "did not answer for 10 s");
		return;
	}
	if (sh->now - sh->last_ping < COURIER_PING_US)
		return;
	if (sh->now - sh->last_heard < COURIER_STEADY_US && sh->courier_failures > 0 &&
		sh->now - sh->courier_retry_at > COURIER_STEADY_US)
		sh->courier_failures = 0;
	mark = smem_frame_begin(&sh->link.out, SMEM_FRAME_PING);
	smem_put_u64(&sh->link.out, (uint64_t) sh->now);
	smem_frame_end(&sh->link.out, mark);
	sh->last_ping = sh->now;
}

static void
serve_courier(SmemShipper *sh)
{
	if (sh->link.fd >= 0)
	{
		bool alive = smem_link_receive(&sh->link);

		/* What it said before it died counts. */
		smem_settle_receive(sh);
		if (!alive)
			lose_courier(sh, "ended unexpectedly");
		else
			ping_courier(sh);
	}
	if (sh->link.fd < 0)
		start_courier(sh);
}

/* The oldest commit in a stream; late rows stand first in a step, so a few tell. */
static TimestampTz
oldest_of(SmemShipper *sh, SmemStream *st, TimestampTz oldest)
{
	dlist_iter iter;
	int		   n = 0;

	dlist_foreach (iter, &sh->window.list[st->list])
	{
		SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);

		if (n++ == 64)
			break;
		if (entry->kind != SMEM_OUTCOME_DELAYED && (oldest == 0 || entry->commit_at < oldest))
			oldest = entry->commit_at;
	}
	/* A detour that is held may have nothing in the window. */
	if (n == 0 && st->tenant != NULL && smem_stream_unread(st))
	{
		TimestampTz from = smem_stream_newest(st)->from_time;

		if (from != 0 && (oldest == 0 || from < oldest))
			oldest = from;
	}
	return oldest;
}

/* The oldest commit that this sink has not acknowledged. */
static TimestampTz
publish_oldest(SmemShipper *sh)
{
	TimestampTz oldest = sh->parked_oldest;

	if (sh->last_look != 0 || sh->window.rows_of[SMEM_LIST_MAIN] > 0)
		sh->unread_oldest = 0;
	if (sh->unread_oldest != 0 && (oldest == 0 || sh->unread_oldest < oldest))
		oldest = sh->unread_oldest;
	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		if (i == 0 || sh->stream[i].tenant != NULL)
			oldest = oldest_of(sh, &sh->stream[i], oldest);
	}
	pg_atomic_write_u64(&sh->slot->oldest_pending, (uint64) oldest);
	/* Only now, so that the lag has no gap; a commit since the look has set the flag, and we look again. */
	if (sh->seen_since != 0)
		pg_atomic_compare_exchange_u64(&sh->slot->unseen_since, &sh->seen_since, 0);
	sh->seen_since = 0;
	pg_atomic_write_u64(&sh->slot->beat, (uint64) sh->now);
	return oldest;
}

static void
maintain(SmemShipper *sh)
{
	int64 interval = Min((int64) 10, Max((int64) 1, (int64) smem_guc_retention_s / 10)) * 1000000;

	if (sh->now - sh->last_maintained < interval)
		return;
	sh->last_maintained = sh->now;
	if (smem_main_stream(sh)->moved && smem_ring_waits())
		smem_settle_record(sh, true);
	if (!smem_sink_is_first(sh->sink))
		return;
	smem_ring_maintain();
	smem_retention_step();
}

static int
time_left_ms(SmemShipper *sh, TimestampTz at)
{
	if (at <= sh->now)
		return 0;
	return (int) Min((at - sh->now + 999) / 1000, IDLE_MS);
}

/* When the streams want a turn; 0: now, and the greatest when only an event can bring work. */
static TimestampTz
reading_due(SmemShipper *sh)
{
	SmemStream *main = smem_main_stream(sh);
	TimestampTz again = 0;

	if (sh->gate != InvalidXLogRecPtr || smem_exact_tell(sh))
		return sh->now + GATE_PAUSE_US;
	if (smem_feed_has_work(sh))
		return 0;
	(void) smem_tenants_have_work(sh, &again);
	if (again == 0)
		again = PG_INT64_MAX;
	if (smem_tenants_main_room(sh) > 0 && main->nsteps < SMEM_STEPS &&
		pg_atomic_read_u32(&sh->slot->woken) != 0)
		again = Min(again, sh->last_look + sh->linger_us);
	return again;
}

static int
turn_timeout_ms(SmemShipper *sh)
{
	int			timeout = IDLE_MS;
	TimestampTz record = smem_settle_due(sh);
	SmemEntry  *one;

	if (record != 0)
		timeout = Min(timeout, time_left_ms(sh, record));
	if (sh->link.fd >= 0 && !sh->ready)
		return smem_exact_tell(sh) ? Min(timeout, time_left_ms(sh, sh->now + GATE_PAUSE_US))
								   : timeout;
	if (!sh->unsent && (smem_due_now(sh) || sh->park_changed))
		timeout = 0;
	else if (sh->next_due > sh->now)
		timeout = Min(timeout, time_left_ms(sh, sh->next_due));
	if (sh->link.fd < 0)
		timeout = Min(timeout, time_left_ms(sh, sh->courier_retry_at));
	if (sh->unsent && sh->alone && smem_window_under_way(&sh->window, &one) > 0)
		return timeout;
	if (sh->unsent && sh->link.fd >= 0)
		return smem_buf_len(&sh->link.out) > 0 ? timeout : 0;
	if (sh->unsent)
		return timeout;
	return Min(timeout, time_left_ms(sh, reading_due(sh)));
}

static void
wait_for_work(SmemShipper *sh)
{
	int events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	int timeout = turn_timeout_ms(sh);

	if (sh->link.fd >= 0)
		events |= WL_SOCKET_READABLE;
	if (sh->link.fd >= 0 && smem_buf_len(&sh->link.out) > 0)
		events |= WL_SOCKET_WRITEABLE;
	(void) WaitLatchOrSocket(MyLatch, events, sh->link.fd >= 0 ? sh->link.fd : PGINVALID_SOCKET,
							 timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

static void
reload(SmemShipper *sh)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (sh->link.fd < 0)
		return;
	/* A courier writes transactions from its begin to its end, or none. */
	if (sh->sink == SMEM_SINK_KAFKA && sh->exact != smem_guc_kafka_exactly_once)
	{
		/* What it has said counts. */
		(void) smem_link_receive(&sh->link);
		smem_settle_receive(sh);
		stop_courier(sh);
		smem_window_unsend(&sh->window, false);
		smem_news_drop(sh);
		sh->courier_retry_at = 0;
	}
	else
		smem_config_frame(sh->sink, &sh->link.out);
}

static void
take_turn(SmemShipper *sh)
{
	MemoryContextSwitchTo(sh->turn);
	MemoryContextReset(sh->turn);
	CHECK_FOR_INTERRUPTS();
	reload(sh);
	(void) smem_clock_take(sh);
	smem_tally_begin(sh);
	smem_control_check(sh);
	serve_courier(sh);
	smem_settle_record(sh, false);
	(void) smem_exact_tell(sh);
	/* Before it could be sent again. */
	if (sh->suspect != 0 && sh->ready)
		blame_suspect(sh);
	smem_feed(sh);
	maintain(sh);
	MemoryContextSwitchTo(sh->turn);
	if (sh->link.fd >= 0 && !smem_link_send(&sh->link))
		lose_courier(sh, "ended unexpectedly");
	smem_tally_end(sh, publish_oldest(sh));
}

static void
leave(int code, Datum arg)
{
	smem_link_close(&shipper.link);
	smem_slot_detach(shipper.db, shipper.sink, code == 0, !shipper.exists);
}

static void
error_context(void *arg)
{
	errcontext("somamem worker for database \"%s\"", (const char *) arg);
}

/* What a session's settings might do to a worker that must neither wait, nor stop, nor plan anew. */
static void
fix_settings(void)
{
	static const char *const fixed[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"synchronous_commit", "local"},
		{"search_path", "pg_catalog"},
		{"row_security", "off"},
		{"jit", "off"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"max_parallel_workers_per_gather", "0"},
		{"plan_cache_mode", "force_generic_plan"},
		{"work_mem", "4MB"},
	};

	for (int i = 0; i < lengthof(fixed); i++)
		SetConfigOption(fixed[i][0], fixed[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
smem_shipper_main(Datum arg)
{
	SmemShipper			*sh = &shipper;
	ErrorContextCallback context;
	static char			 database[NAMEDATALEN];

	sh->sink = (SmemSink) (DatumGetInt32(arg) % SMEM_SINKS);
	sh->db = &smem_shared->database[DatumGetInt32(arg) / SMEM_SINKS];
	sh->slot = &sh->db->sink[sh->sink];
	sh->exists = true;
	smem_link_init(&sh->link);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	smem_control_install();
	/* Its statements are short: a cancel could only cost what the courier holds. */
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(leave, 0);
	if (!smem_slot_attach(sh->db, sh->sink))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(sh->db->oid, InvalidOid, 0);
	fix_settings();
	strlcpy(database, MyBgworkerEntry->bgw_extra, sizeof(database));
	context.callback = error_context;
	context.arg = database;
	context.previous = error_context_stack;
	error_context_stack = &context;

	sh->context = AllocSetContextCreate(TopMemoryContext, "somamem worker", ALLOCSET_DEFAULT_SIZES);
	sh->turn = AllocSetContextCreate(sh->context, "somamem turn", ALLOCSET_DEFAULT_SIZES);
	smem_window_init(&sh->window, sh->context);
	sh->retries_before = pg_atomic_read_u64(&sh->slot->retries);
	(void) smem_clock_take(sh);
	sh->last_record = sh->now;
	sh->hasten = true;
	MemoryContextSwitchTo(sh->turn);
	sh->news = sh->sink == SMEM_SINK_KAFKA;
	smem_feed_start(sh);
	while (sh->exists && !smem_control_stop_wanted())
	{
		take_turn(sh);
		if (sh->exists && !smem_control_stop_wanted())
			wait_for_work(sh);
	}
	if (sh->exists)
		smem_control_wind_down(sh);
	proc_exit(0);
}
