/*
 * A row's trouble and a tenant's trouble: what is split, condemned, held, and
 * that everything else goes on in its order.
 */
#include "brain_bed.h"

/* Rows of this id are refused, or break the service, as the case says. */
#define BAD 37

static const char detail[] =
	"{\"detail\": [{\"msg\": \"importance is\\tout of range\", \"input\": {}}]}";

static Reply
answer(int status, const char *body)
{
	return (Reply){.manner = ANSWER, .status = status, .body = body};
}

static Reply
refuse_bad(Bed *bed, const Ask *ask)
{
	if (ask_has(ask, BAD))
		return answer(bed->knob ? bed->knob : 422, detail);
	return (Reply){.manner = ACCEPT};
}

static void
check_split(void)
{
	Bed *bed = BED_START(refuse_bad, "somabrain_batch_items", "64", "somabrain_concurrency", "1");

	bed_push_many(bed, 1, 64, "t", 5);
	tap_ok(BED_UNTIL(bed, bed->done == 64), "split: every row has an outcome");
	tap_ok(bed->rows[BAD].kind == SMEM_OUTCOME_DEAD && bed->kinds[1] == 63,
		   "split: one is dead, the others are delivered");
	tap_is(bed->rows[BAD].class, "http_422", "split: its class");
	tap_is(bed->rows[BAD].reason, "service answered 422: importance is out of range",
		   "split: its reason is in the service's words");
	tap_ok(bed_ordered(bed), "split: sessions keep their order");
	/* The whole batch, log2 n and two; what was asked before all were there. */
	tap_ok(bed->asked <= 10, "split: %d requests are enough", bed->asked);
	bed_stop(bed);
}

static void
check_classes(void)
{
	static const int statuses[] = {400, 409, 413, 422, 402, 405, 410, 431, 451};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
	{
		Bed *bed = BED_START(refuse_bad, NULL);
		char want[32];

		bed->knob = statuses[i];
		bed_push(bed, BAD, "t", "s");
		bed_push(bed, BAD + 1, "t", "s");
		BED_UNTIL(bed, bed->done == 2);
		snprintf(want, sizeof(want), "http_%d", statuses[i]);
		tap_ok(bed->rows[BAD].kind == SMEM_OUTCOME_DEAD &&
				   strcmp(bed->rows[BAD].class, want) == 0 && bed_all(bed, BAD + 1, BAD + 1, 1),
			   "a row that gets %d is dead, the next of its session goes", statuses[i]);
		bed_stop(bed);
	}
}

static Reply
refuse_all(Bed *bed, const Ask *ask)
{
	(void) bed;
	(void) ask;
	return answer(400, "{\"error\": {\"message\": \"not you\"}}");
}

static Reply
refuse_many(Bed *bed, const Ask *ask)
{
	return ask->n > bed->knob ? answer(413, "too large") : (Reply){.manner = ACCEPT};
}

static Reply
quote_payload(Bed *bed, const Ask *ask)
{
	(void) bed;
	(void) ask;
	return answer(422, "{\"error\": \"cannot take 'a secret that nobody may see'\"}");
}

static void
check_refusals(void)
{
	Bed *bed = BED_START(refuse_all, NULL);

	bed_push_many(bed, 1, 40, "t", 7);
	tap_ok(BED_UNTIL(bed, bed->done == 40) && bed_all(bed, 1, 40, SMEM_OUTCOME_DEAD),
		   "all bad: all are dead");
	tap_is(bed->rows[3].reason, "service answered 400: not you", "all bad: with the reason");
	bed_stop(bed);

	bed = BED_START(refuse_many, NULL);
	bed->knob = 10;
	bed_push_many(bed, 1, 1000, "t", 40);
	tap_ok(BED_UNTIL(bed, bed->done == 1000) && bed_all(bed, 1, 1000, 1),
		   "too many at once: none is condemned");
	tap_ok(bed_ordered(bed), "too many at once: sessions keep their order");
	tap_ok(bed->asked < 400, "too many at once: smaller batches are learnt (%d requests)",
		   bed->asked);
	bed_stop(bed);

	bed = BED_START(quote_payload, NULL);
	bed_push(bed, 1, "t", "s");
	BED_UNTIL(bed, bed->done == 1);
	tap_is(bed->rows[1].reason, "service answered 422", "a reason never quotes the payload");
	bed_stop(bed);
}

/* knob: what the bad row does; 0 once it is cured. */
static Reply
break_on_bad(Bed *bed, const Ask *ask)
{
	if (!ask_has(ask, BAD) || bed->knob == 0)
		return (Reply){.manner = ACCEPT};
	if (bed->knob == 1)
		return (Reply){.manner = HANG};
	if (bed->knob == 2)
		return (Reply){.manner = RESET};
	return answer(bed->knob, "");
}

/* Sends rows of another session until the bad row has an outcome; returns how many. */
static int
pass_others(Bed *bed)
{
	int n = 0;

	while (bed->rows[BAD].count == 0 && n < 2000)
	{
		bed_push(bed, 200 + n++, "t", "other");
		bed_pass(bed, 10);
	}
	return n;
}

static void
check_poison(int knob, const char *class)
{
	Bed *bed = BED_START(break_on_bad, "somabrain_timeout", "150");
	int	 others;

	bed->knob = knob;
	bed_push_many(bed, 1, 100, "t", 10);
	others = pass_others(bed);
	BED_UNTIL(bed, bed->done == 100 + others);
	tap_ok(bed->rows[BAD].kind == SMEM_OUTCOME_FAILED, "%s: the row has failed", class);
	tap_is(bed->rows[BAD].class, class, "it says how");
	tap_ok(bed->kinds[SMEM_OUTCOME_BEHIND] == 6 && bed->rows[47].kind == SMEM_OUTCOME_BEHIND &&
			   bed->kinds[1] == 93 + others,
		   "what is behind it is not sent, all others are");
	tap_ok(bed_ordered(bed), "sessions keep their order");
	bed_push(bed, 101, "t", "s7");
	BED_UNTIL(bed, bed->rows[101].count == 1);
	tap_is_int(bed->rows[101].kind, SMEM_OUTCOME_BEHIND, "the session stays closed");
	bed_forget(bed);
	bed->knob = 0;
	for (int id = BAD; id <= 107; id += 10)
	{
		SmemRow row = bed_row(bed, id, "t", "s7");

		row.attempts = id == BAD ? 1 : 0;
		row.flags = id == BAD ? SMEM_ROW_REOPEN : 0;
		bed_send(bed, &row);
	}
	tap_ok(BED_UNTIL(bed, bed->done == 8) && bed->kinds[1] == 8, "until the row is sent again");
	tap_ok(bed_ordered(bed), "and then goes in order");
	bed_stop(bed);
}

/* Fails the first three requests that have the bad row, and no others. */
static Reply
stumble(Bed *bed, const Ask *ask)
{
	if (ask_has(ask, BAD) && bed->knob++ < 2)
		return answer(500, "");
	return (Reply){.manner = ACCEPT};
}

static Reply
omit_some(Bed *bed, const Ask *ask)
{
	static char body[20000];

	snprintf(body, sizeof(body), "{\"ok\": true, \"results\": [");
	for (int i = 0; i < ask->n; i++)
	{
		if (ask->ids[i] == BAD || (ask->ids[i] % 3 == 0 && bed->knob++ < 10))
			continue;
		bed->accepted_ids[bed->accepted++] = ask->ids[i];
		snprintf(body + strlen(body), sizeof(body) - strlen(body), "%s{\"key\": \"k%d\"}",
				 body[strlen(body) - 1] == '[' ? "" : ",", ask->ids[i]);
	}
	strcat(body, "]}");
	return answer(200, body);
}

static void
check_stumbles(void)
{
	Bed *bed = BED_START(stumble, NULL);

	bed_push_many(bed, 1, 60, "t", 6);
	tap_ok(BED_UNTIL(bed, bed->done == 60) && bed_all(bed, 1, 60, 1),
		   "a service that stumbles twice condemns no row");
	tap_ok(bed_ordered(bed), "and keeps the order");
	bed_stop(bed);

	bed = BED_START(omit_some, NULL);
	for (int id = 1; id <= 60; id++)
	{
		char session[16];

		snprintf(session, sizeof(session), "own%d", id);
		bed_push(bed, id, "t", session);
	}
	tap_ok(BED_UNTIL(bed, bed->kinds[1] == 59), "rows without a result are sent again");
	pass_others(bed);
	tap_ok(bed->rows[BAD].kind == SMEM_OUTCOME_FAILED &&
			   strcmp(bed->rows[BAD].class, "no_result") == 0,
		   "one that never has one has failed");
	tap_ok(bed_ordered(bed), "what had one is not");
	bed_stop(bed);
}

/* Tenant "hot" is throttled: knob 0 with Retry-After, 1 without, 2 no more. */
static Reply
throttle(Bed *bed, const Ask *ask)
{
	bool all = bed->knob >= 10;

	if (bed->knob % 10 == 2 || (!all && strcmp(ask->tenant, "hot") != 0))
		return (Reply){.manner = ACCEPT};
	return (Reply){.manner = ANSWER,
				   .status = 429,
				   .headers = bed->knob % 10 == 0 ? "Retry-After: 7\r\n" : NULL};
}

static void
check_held_tenant(void)
{
	Bed *bed = BED_START(throttle, "somabrain_concurrency", "2");
	int	 hot;

	for (int id = 1; id <= 200; id++)
	{
		char session[16];

		snprintf(session, sizeof(session), "%c%d", id % 2 ? 'h' : 'c', id % 10);
		bed_push(bed, id, id % 2 ? "hot" : "cold", session);
	}
	tap_ok(BED_UNTIL(bed, bed->done == 200), "throttled: every row has an outcome");
	tap_is_int(bed->kinds[1], 100, "throttled: the other tenant's rows are delivered");
	tap_is_int(bed->kinds[SMEM_OUTCOME_HELD], 5,
			   "throttled: the first row of each session is held");
	tap_is_int(bed->kinds[SMEM_OUTCOME_BEHIND], 95, "throttled: the others are behind");
	tap_ok(bed->rows[1].kind == SMEM_OUTCOME_HELD && bed->rows[1].delay_ms > 6000 &&
			   bed->rows[1].delay_ms <= 7000,
		   "throttled: as long as the service asked for");
	tap_is(bed->rows[1].class, "http_429", "throttled: it says why");
	tap_is_int(bed->drive.state.circuit, SMEM_CIRCUIT_CLOSED,
			   "throttled: the circuit stays closed");
	hot = 0;
	for (int i = 0; i < bed->asked; i++)
		hot += strcmp(bed->notes[i].tenant, "hot") == 0;
	tap_ok(hot <= 2, "throttled: the tenant is not asked again");
	bed->knob = 2;
	bed_forget(bed);
	drive_simple(&bed->drive, SMEM_FRAME_TRY_NOW);
	for (int id = 1; id <= 200; id += 2)
	{
		char	session[16];
		SmemRow row;

		snprintf(session, sizeof(session), "h%d", id % 10);
		row = bed_row(bed, id, "hot", session);
		row.flags = id < 10 ? SMEM_ROW_REOPEN : 0;
		bed_send(bed, &row);
	}
	tap_ok(BED_UNTIL(bed, bed->done == 100) && bed->kinds[1] == 100 && bed_ordered(bed),
		   "throttled: sent again they go, in order");
	bed_stop(bed);
}

static void
check_short_throttle(void)
{
	Bed *bed = BED_START(throttle, NULL);

	bed->knob = 1;
	bed_push_many(bed, 1, 50, "hot", 5);
	BED_UNTIL(bed, bed->asked >= 3);
	tap_is_int(bed->done, 0, "throttled for a moment: rows wait");
	bed->knob = 2;
	tap_ok(BED_UNTIL(bed, bed->done == 50) && bed_all(bed, 1, 50, 1) && bed_ordered(bed),
		   "throttled for a moment: then they go");
	bed_stop(bed);
}

static void
check_all_throttled(void)
{
	Bed *bed = BED_START(throttle, "somabrain_concurrency", "1");

	bed->knob = 11;
	for (int id = 1; id <= 60; id++)
		bed_push(bed, id, id % 3 ? id % 3 == 1 ? "a" : "b" : "c", "s");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit != SMEM_CIRCUIT_CLOSED),
		   "all throttled: it is the sink's trouble");
	bed_pass(bed, 300);
	tap_is_int(bed->done, 0, "all throttled: no row is handed back");
	bed->knob = 12;
	tap_ok(BED_UNTIL(bed, bed->done == 60) && bed_all(bed, 1, 60, 1),
		   "all throttled: later all go");
	bed_stop(bed);
}

int
main(void)
{
	check_split();
	check_classes();
	check_refusals();
	check_poison(500, "http_500");
	check_poison(1, "timeout");
	check_poison(2, "broken_off");
	check_stumbles();
	check_held_tenant();
	check_short_throttle();
	check_all_throttled();
	return tap_done();
}
