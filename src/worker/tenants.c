/*
 * Fairness: a tenant whose backlog fills the window leaves the main stream,
 * and so does one that the sink holds.
 *
 * The main stream goes on and passes such a tenant's rows by; a stream of the
 * tenant's own, a detour, follows with them.  Where it has caught up with the
 * main stream it ends, and the tenant's further rows are the main stream's
 * again.  So a single row of another tenant waits for what is in the window,
 * and never for a backlog.
 *
 *     main stream   ......AAAAAAAAbAAAAAAAAAAcAAAA......>
 *                               |  passes A by, reads b and c
 *     detour of A               +--AA---->
 *
 * A row is read twice at most: once to be passed by, once to be sent.
 */
#include "postgres.h"

#include "worker/shipper.h"

#include "outbox/detour.h"
#include "outbox/park.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Parts of the window: what the main stream may hold alone, or beside detours, and all of these. */
#define MAIN_ALONE (SMEM_WINDOW_ROWS * 3 / 4)
#define MAIN_ROWS (SMEM_WINDOW_ROWS / 2)
#define DETOUR_ROWS (SMEM_WINDOW_ROWS / 2)
#define DETOUR_BYTES (SMEM_WINDOW_BYTES * 3 / 4)
#define DETOUR_LEAST 64
#define DETOURS_MOST (SMEM_WINDOW_MOST - MAIN_ROWS / 2)

/* Who has fewer rows in the window does not fill it. */
#define FLOOD_ROWS (MAIN_ROWS / 8)

/* So long is not asked again whether the parking place holds a tenant. */
#define PARK_PAUSE_US ((int64) 50000)

static bool
is_open(const SmemStream *st)
{
	return st->tenant != NULL && !st->closed;
}

static SmemStream *
find_open(SmemShipper *sh, const char *tenant)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (is_open(&sh->stream[i]) && strcmp(sh->stream[i].tenant, tenant) == 0)
			return &sh->stream[i];
	}
	return NULL;
}

static SmemStream *
find_free(SmemShipper *sh)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].tenant == NULL)
			return &sh->stream[i];
	}
	return NULL;
}

static int
count_open(SmemShipper *sh)
{
	int n = 0;

	for (int i = 1; i <= SMEM_DETOURS; i++)
		n += is_open(&sh->stream[i]);
	return n;
}

bool
smem_tenants_none(SmemShipper *sh)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].tenant != NULL)
			return false;
	}
	return true;
}

/* Rows in the window of those who are on a detour, also such as the main stream has read. */
static int
rows_lent(SmemShipper *sh)
{
	int n = 0;

	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (is_open(&sh->stream[i]))
			n += smem_window_tenant_rows(&sh->window, sh->stream[i].tenant);
	}
	return n;
}

static bool
has_caught_up(const SmemStream *st, const SmemMoment *goal)
{
	return smem_moment_equal(&st->last, goal);
}

/* A detour that had ended when an earlier process did is read to its end before the main stream goes on. */
static bool
is_read_to_end(SmemStream *st)
{
	return !smem_stream_unread(st) && has_caught_up(st, &st->until);
}

static bool
closed_is_unread(SmemShipper *sh)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].closed && !is_read_to_end(&sh->stream[i]))
			return true;
	}
	return false;
}

int
smem_tenants_main_room(SmemShipper *sh)
{
	int all = smem_window_streams(&sh->window);
	int room = (count_open(sh) > 0 ? MAIN_ROWS : MAIN_ALONE) - (all - rows_lent(sh));

	if (sh->window.bytes >= SMEM_WINDOW_BYTES || closed_is_unread(sh))
		return 0;
	return Max(0, Min(room, SMEM_WINDOW_MOST - all));
}

static SmemStream *
start_detour(SmemShipper *sh, const char *tenant)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	SmemStream	 *main = smem_main_stream(sh);
	SmemStream	 *st = find_free(sh);
	int			  list = (int) (st - sh->stream);
	SmemPosition  here = {.from = main->last};

	memset(st, 0, sizeof(*st));
	st->list = list;
	st->tenant = pstrdup(tenant);
	st->number = ++sh->last_detour;
	st->before = sh->window.rows_of[SMEM_LIST_MAIN];
	if (main->nsteps > 0)
		smem_stream_fork(st, main);
	else
	{
		smem_stream_begin(st, &here);
		st->last_time = main->last_time;
	}
	MemoryContextSwitchTo(outer);
	return st;
}

static bool
is_on_detour(const char *tenant, void *arg)
{
	return find_open(arg, tenant) != NULL;
}

void
smem_tenants_make_room(SmemShipper *sh)
{
	const char *tenant;
	int			rows;

	if (!smem_stream_unread(smem_main_stream(sh)) || find_free(sh) == NULL)
		return;
	tenant = smem_window_greatest(&sh->window, is_on_detour, sh, &rows);
	if (tenant != NULL && rows >= FLOOD_ROWS)
		start_detour(sh, tenant);
}

void
smem_tenants_hold(SmemShipper *sh, const char *tenant, TimestampTz until)
{
	SmemStream *st = find_open(sh, tenant);

	if (st == NULL && find_free(sh) != NULL)
		st = start_detour(sh, tenant);
	if (st != NULL)
		st->hold_until = Max(st->hold_until, until);
}

void
smem_tenants_release(SmemShipper *sh)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
		sh->stream[i].hold_until = 0;
}

void
smem_tenants_filter(SmemShipper *sh, SmemFilter *filter)
{
	memset(filter, 0, sizeof(*filter));
	filter->except = palloc(sizeof(char *) * SMEM_DETOURS);
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (is_open(&sh->stream[i]))
			filter->except[filter->nexcept++] = sh->stream[i].tenant;
	}
}

bool
smem_tenants_passed(SmemShipper *sh, const SmemOutboxRow *row)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		SmemStream *st = &sh->stream[i];

		if (st->closed && smem_snapshot_shows(&st->until.snapshot, row->xid) &&
			strcmp(st->tenant, row->tenant) == 0)
			return true;
	}
	return false;
}

/* The main stream has read nothing of the tenant that this one has not: the next row is the main stream's. */
static void
close_detour(SmemShipper *sh, SmemStream *st)
{
	st->closed = true;
	smem_moment_copy(&st->until, &smem_main_stream(sh)->last);
	st->moved = true;
}

/* Goes on to where the main stream is, or ends where it is there already. */
static void
advance(SmemShipper *sh, SmemStream *st)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	SmemStream	 *main = smem_main_stream(sh);
	SmemMoment	 *goal = st->closed ? &st->until : &main->last;
	SmemMoment	  to;

	if (!smem_moment_reached(&st->last, goal) && st->nsteps < SMEM_STEPS)
	{
		smem_moment_copy(&to, goal);
		smem_stream_open_step(st, sh->sink, &to, 0, st->last_time);
		st->last_time = main->last_time;
	}
	else if (!st->closed && has_caught_up(st, goal) && !smem_stream_unread(main))
		close_detour(sh, st);
	MemoryContextSwitchTo(outer);
}

static int
detour_room(SmemShipper *sh, SmemStream *st)
{
	int share = Max(DETOUR_LEAST, DETOUR_ROWS / Max(1, count_open(sh)));

	if (sh->window.bytes >= DETOUR_BYTES && sh->window.rows_of[st->list] > 0)
		return 0;
	if (st->closed)
		return SMEM_WINDOW_ROWS;
	share -= smem_window_tenant_rows(&sh->window, st->tenant);
	return Max(0, Min(share, DETOURS_MOST - smem_window_streams(&sh->window)));
}

/* Has something to read, as far as can be told without asking a table. */
static bool
wants_read(SmemShipper *sh, SmemStream *st)
{
	SmemStream *main = smem_main_stream(sh);

	if (st->tenant == NULL || sh->now < st->hold_until || detour_room(sh, st) == 0 ||
		(!st->closed && closed_is_unread(sh)))
		return false;
	if (smem_stream_unread(st))
		return true;
	if (st->closed)
		return !is_read_to_end(st);
	/* Where an earlier process had come further with it than with the main stream, it waits for that. */
	if (!smem_moment_reached(&st->last, &main->last))
		return st->nsteps < SMEM_STEPS;
	return has_caught_up(st, &main->last) && !smem_stream_unread(main);
}

typedef struct ReadState
{
	SmemShipper *sh;
	SmemStream	*st;
} ReadState;

static bool
take_row(SmemOutboxRow *row, void *arg)
{
	ReadState *state = arg;

	smem_feed_row(state->sh, state->st, row);
	return state->sh->window.bytes < DETOUR_BYTES && !smem_feed_socket_full(state->sh);
}

static void
read_detour(SmemShipper *sh, SmemStream *st)
{
	ReadState  state = {.sh = sh, .st = st};
	SmemFilter filter = {.only = st->tenant};

	/* What is held goes first: read on, its tenant's rows would only be parked, too. */
	if (!st->closed && sh->parked > 0 && smem_park_holds_tenant(sh->sink, st->tenant))
	{
		st->hold_until = sh->now + PARK_PAUSE_US;
		return;
	}
	if (!smem_stream_unread(st))
		advance(sh, st);
	if (smem_stream_unread(st))
		smem_step_read(&smem_stream_newest(st)->step, sh->sink, &filter, detour_room(sh, st),
					   take_row, &state);
}

void
smem_tenants_read(SmemShipper *sh)
{
	for (int i = 0; i < SMEM_DETOURS && !smem_feed_socket_full(sh); i++)
	{
		SmemStream *st = &sh->stream[1 + (sh->turn_of + i) % SMEM_DETOURS];

		if (wants_read(sh, st))
			read_detour(sh, st);
	}
	sh->turn_of = (sh->turn_of + 1) % SMEM_DETOURS;
}

bool
smem_tenants_have_work(SmemShipper *sh, TimestampTz *again)
{
	*again = 0;
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		SmemStream *st = &sh->stream[i];

		if (wants_read(sh, st))
			return true;
		if (st->tenant != NULL && sh->now < st->hold_until)
			*again = *again == 0 ? st->hold_until : Min(*again, st->hold_until);
	}
	return false;
}

bool
smem_tenants_is_over(SmemShipper *sh, SmemStream *st)
{
	return st->closed && st->nsteps == 0 && is_read_to_end(st) &&
		   sh->window.rows_of[st->list] == 0 &&
		   smem_moment_reached(&smem_main_stream(sh)->from, &st->until);
}

bool
smem_tenants_news(SmemShipper *sh)
{
	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].tenant != NULL && smem_tenants_is_over(sh, &sh->stream[i]))
			return true;
	}
	return false;
}

void
smem_tenants_forget(SmemShipper *sh)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);

	for (int i = 1; i <= SMEM_DETOURS; i++)
	{
		if (sh->stream[i].tenant != NULL && smem_tenants_is_over(sh, &sh->stream[i]))
			smem_stream_end(&sh->stream[i]);
	}
	MemoryContextSwitchTo(outer);
}

void
smem_tenants_start(SmemShipper *sh)
{
	SmemDetour *detours;
	int			n = smem_detours_load(sh->sink, &detours);

	for (int i = 0; i < n && i < SMEM_DETOURS; i++)
	{
		SmemStream *st = &sh->stream[i + 1];
		SmemDetour *detour = &detours[i];

		memset(st, 0, sizeof(*st));
		st->list = i + 1;
		st->tenant = pstrdup(detour->tenant);
		st->number = sh->last_detour = detour->number;
		st->recorded = true;
		st->closed = detour->closed;
		if (st->closed)
			smem_moment_copy(&st->until, &detour->until);
		smem_stream_begin(st, &detour->position);
		if (detour->position.in_step)
			smem_stream_open_step(st, sh->sink, &detour->position.to, detour->position.after_id, 0);
	}
}
