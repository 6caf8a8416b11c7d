/*
 * Everything at once: a service that fails in every way at random, and a
 * worker that parks what failed and sends it again.  Seeded, so that a failure
 * can be seen again: SMEM_SEED=n.
 *
 * Promised: each row sent gets exactly one outcome; in the end each row is
 * accepted or dead; within a session rows are first accepted in their order.
 */
#include "brain_bed.h"

#define ROWS 3000
#define SESSIONS 60
#define TENANTS 4
#define WINDOW 500

typedef struct Life
{
	bool out; /* sent, without an outcome */
	bool parked;
	int	 attempts;
	int	 end; /* DELIVERED or DEAD */
} Life;

static Life	   lives[ROWS + 1];
static int	   ended;
static int	   outstanding;
static int	   seen_twice; /* outcomes of rows that had none to come */
static int	   last_accepted[SESSIONS];
static int64_t due_us[SESSIONS]; /* a held session is not sent again before */
static int	   disordered;
static bool	   accepted_once[ROWS + 1];

static bool
is_bad(int id)
{
	return id % 397 == 0;
}

/* Notes an accepted row; a repeat changes nothing. */
static void
note_accepted(int id)
{
	if (accepted_once[id])
		return;
	accepted_once[id] = true;
	if (id < last_accepted[id % SESSIONS])
		disordered++;
	last_accepted[id % SESSIONS] = id;
}

static Reply
accept_all(const Ask *ask)
{
	for (int i = 0; i < ask->n; i++)
		note_accepted(ask->ids[i]);
	return (Reply){.manner = ACCEPT};
}

static Reply
fail_at_random(Bed *bed, const Ask *ask)
{
	int dice = rand() % 100;

	/* The bed's own list of what was accepted is too short for repeats. */
	bed->accepted = 0;
	for (int i = 0; i < ask->n; i++)
	{
		if (is_bad(ask->ids[i]))
			return (Reply){.manner = ANSWER, .status = 422};
		if (ask->ids[i] % 613 == 0 && rand() % 10 < 7)
			return (Reply){.manner = ANSWER, .status = 500};
	}
	if (bed->asked > 3000)
		return accept_all(ask);
	if (dice < 60)
		return accept_all(ask);
	if (dice < 68)
		return (Reply){.manner = ANSWER, .status = 500 + rand() % 5};
	if (dice < 74)
		return (Reply){
			.manner = ANSWER, .status = 429, .headers = rand() % 4 ? NULL : "Retry-After: 2\r\n"};
	if (dice < 78)
		return (Reply){.manner = ANSWER, .status = 404};
	if (dice < 82)
		return (Reply){.manner = RESET};
	if (dice < 84)
		return (Reply){.manner = HANG};
	if (dice < 92)
	{
		/* Accepted, and the answer is lost. */
		accept_all(ask);
		return (Reply){.manner = RESET};
	}
	if (dice < 96)
		return (Reply){.manner = ANSWER, .status = 200, .body = "{\"ok\": false}"};
	return (Reply){.manner = ANSWER, .status = 401};
}

static void
send_life(Bed *bed, int id, bool reopen)
{
	char	tenant[16];
	char	session[16];
	SmemRow row;

	snprintf(tenant, sizeof(tenant), "t%d", id % SESSIONS % TENANTS);
	snprintf(session, sizeof(session), "s%d", id % SESSIONS);
	row = bed_row(bed, id, tenant, session);
	row.attempts = (uint32_t) lives[id].attempts;
	row.flags = reopen ? SMEM_ROW_REOPEN : 0;
	lives[id].out = true;
	lives[id].parked = false;
	outstanding++;
	bed_send(bed, &row);
}

/* Reads what the bed noted of outcomes since the last time. */
static void
take_outcomes(Bed *bed)
{
	for (int id = 1; id <= ROWS; id++)
	{
		Life   *life = &lives[id];
		Result *row = &bed->rows[id];

		if (row->count == 0)
			continue;
		if (row->count > 1 || !life->out)
			seen_twice++;
		life->out = false;
		outstanding--;
		if (row->kind == SMEM_OUTCOME_DELIVERED || row->kind == SMEM_OUTCOME_DEAD)
		{
			life->end = row->kind;
			ended++;
		}
		else
			life->parked = true;
		life->attempts += row->kind == SMEM_OUTCOME_FAILED;
		if (row->kind == SMEM_OUTCOME_HELD)
			due_us[id % SESSIONS] = drive_clock_us() + row->delay_ms * 1000;
		row->count = 0;
	}
	bed->done = 0;
}

/* Sends a session's parked rows again, once none of it is out. */
static void
reopen_session(Bed *bed, int session, int sent)
{
	bool first = true;
	bool parked = false;

	for (int id = session ? session : SESSIONS; id <= sent; id += SESSIONS)
	{
		if (lives[id].out)
			return;
		parked = parked || lives[id].parked;
	}
	for (int id = session ? session : SESSIONS; parked && id <= sent; id += SESSIONS)
	{
		if (!lives[id].parked)
			continue;
		send_life(bed, id, first);
		first = false;
	}
}

static bool
has_parked(int session, int sent)
{
	for (int id = session ? session : SESSIONS; id <= sent; id += SESSIONS)
	{
		if (lives[id].parked)
			return true;
	}
	return false;
}

static void
work(Bed *bed)
{
	int64_t until = drive_clock_us() + 60000000;
	int		sent = 0;

	while (ended < ROWS && drive_clock_us() < until && !bed->drive.over)
	{
		while (sent < ROWS && outstanding < WINDOW)
		{
			int id = ++sent;

			/* Mostly the worker knows that a session is parked; sometimes it learns it too late. */
			if (has_parked(id % SESSIONS, sent - 1) && rand() % 4)
				lives[id].parked = true;
			else
				send_life(bed, id, false);
		}
		bed_turn(bed, 5);
		take_outcomes(bed);
		for (int s = 0; s < SESSIONS; s++)
		{
			if (due_us[s] <= drive_clock_us())
				reopen_session(bed, s, sent);
		}
	}
}

int
main(void)
{
	const char *seed = getenv("SMEM_SEED");
	Bed		   *bed;
	int			wrong = 0;

	srand(seed ? (unsigned) atoi(seed) : 20240817);
	bed = BED_START(fail_at_random, "somabrain_timeout", "200", "retry_initial", "20",
					"somabrain_batch_items", "40");
	work(bed);
	for (int id = 1; id <= ROWS; id++)
	{
		bool dead = lives[id].end == SMEM_OUTCOME_DEAD;

		if (lives[id].end == 0 || dead != is_bad(id) || accepted_once[id] == dead)
			wrong++;
	}
	tap_is_int(ended, ROWS, "every row comes to an end");
	tap_is_int(wrong, 0, "the bad ones dead, all others accepted");
	tap_is_int(disordered, 0, "in the order of their sessions");
	tap_is_int(seen_twice, 0, "no row has two outcomes");
	tap_ok(!bed->drive.over, "the courier lives");
	printf("# %d requests; failed %d, behind %d, held %d\n", bed->asked,
		   bed->kinds[SMEM_OUTCOME_FAILED], bed->kinds[SMEM_OUTCOME_BEHIND],
		   bed->kinds[SMEM_OUTCOME_HELD]);
	bed_stop(bed);
	return tap_done();
}
