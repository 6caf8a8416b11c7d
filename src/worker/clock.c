#include "postgres.h"

#include "worker/clock.h"

#include "pg/ticks.h"
#include "utils/timestamp.h"

/* Less is the work of a clock that is being corrected, and no timer suffers from it. */
#define JUMP_US ((int64_t) 1000000)

/* A process that was held up between two readings has not read both clocks at one moment. */
#define READING_US ((int64_t) 100000)

/* Reads the clock, and how far it is ahead of the one that nobody sets. */
static TimestampTz
read_clock(int64_t *ahead)
{
	TimestampTz now;
	int64_t		ticks;

	do
	{
		ticks = smem_ticks_us();
		now = GetCurrentTimestamp();
	} while (smem_ticks_us() - ticks > READING_US);
	*ahead = now - ticks;
	return now;
}

static void
move(TimestampTz *at, int64_t jump)
{
	if (*at != 0)
		*at += jump;
}

static void
move_rows(SmemWindow *window, int64_t jump)
{
	for (int i = 0; i < SMEM_LISTS; i++)
	{
		dlist_iter iter;

		dlist_foreach (iter, &window->list[i])
			move(&dlist_container(SmemEntry, node, iter.cur)->sent_at, jump);
	}
}

static void
move_times(SmemShipper *sh, int64_t jump)
{
	move(&sh->last_look, jump);
	move(&sh->last_record, jump);
	move(&sh->last_maintained, jump);
	move(&sh->paced_at, jump);
	move(&sh->courier_retry_at, jump);
	move(&sh->courier_started, jump);
	move(&sh->last_heard, jump);
	move(&sh->last_ping, jump);
	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		move(&sh->stream[i].last_time, jump);
		move(&sh->stream[i].hold_until, jump);
		move(&sh->stream[i].blocked_since, jump);
	}
	move_rows(&sh->window, jump);
}

int64_t
smem_clock_take(SmemShipper *sh)
{
	bool	first = sh->now == 0;
	int64_t ahead;
	int64_t jump;

	sh->now = read_clock(&ahead);
	jump = first ? 0 : ahead - sh->clock_ahead;
	sh->clock_ahead = ahead;
	if (jump >= -JUMP_US && jump <= JUMP_US)
		return 0;
	move_times(sh, jump);
	sh->hasten = true;
	sh->park_changed = true;
	ereport(LOG, (errmsg("system clock jumped by %.1f s; pauses of sink \"%s\" go on as before",
						 (double) jump / 1000000.0, smem_sink_name(sh->sink))));
	return jump;
}

bool
smem_clock_is_due(TimestampTz at, TimestampTz now, int64_t longest)
{
	return at <= now || at - now > longest;
}
