/*
 * A pause of the SomaBrain sink: what is on the wire comes to its end, nothing
 * new goes out, and whoever asked for it learns both at once.
 */
#include "brain_bed.h"

/* knob: 1 for a service that says nothing. */
static Reply
maybe_hang(Bed *bed, const Ask *ask)
{
	Reply reply = {.manner = bed->knob == 1 ? HANG : ACCEPT};

	(void) ask;
	return reply;
}

/* Asks, and waits for the answer, so that all that was said before has been read. */
static void
settle(Bed *bed)
{
	static uint64_t number;

	number++;
	smem_frame_number(&bed->drive.out, SMEM_FRAME_PING, number);
	BED_UNTIL(bed, bed->drive.pong == number);
}

/* Turns without serving: whatever was sent stays without an answer. */
static bool
hold_until_in_flight(Bed *bed)
{
	for (int i = 0; i < 400 && bed->drive.state.in_flight == 0; i++)
		drive_turn(&bed->drive, 50);
	return bed->drive.state.in_flight > 0;
}

static bool
hold_until_paused(Bed *bed)
{
	for (int i = 0; i < 400 && !bed->drive.state.paused; i++)
		drive_turn(&bed->drive, 50);
	return bed->drive.state.paused;
}

static void
check_end_of_wire(void)
{
	Bed *bed = BED_START(NULL, NULL);

	bed_push(bed, 1, "t", "s");
	tap_ok(hold_until_in_flight(bed), "a request is on the wire");
	smem_frame_pause(&bed->drive.out, true);
	tap_ok(hold_until_paused(bed), "the state says paused");
	tap_is_int(bed->drive.state.in_flight, 1, "while the request is still on the wire");
	bed_push_many(bed, 2, 50, "t", 10);
	tap_ok(BED_UNTIL(bed, bed->done == 1), "what is on the wire comes to its end");
	settle(bed);
	tap_ok(bed->drive.state.paused && bed->drive.state.in_flight == 0,
		   "and the state says so before anything else is answered");
	bed_pass(bed, 300);
	tap_is_int(bed->asked, 1, "nothing new goes out");
	tap_is_int(bed->drive.state.queued, 49, "rows wait");

	drive_simple(&bed->drive, SMEM_FRAME_TRY_NOW);
	bed_configure(bed, (const char *const[]){NULL});
	bed_pass(bed, 300);
	tap_is_int(bed->asked, 1, "neither asking for a try nor a reload ends a pause");
	smem_frame_pause(&bed->drive.out, false);
	tap_ok(BED_UNTIL(bed, bed->done == 50) && bed_all(bed, 1, 50, 1) && bed_ordered(bed),
		   "then all go, in order");
	tap_ok(BED_UNTIL(bed, !bed->drive.state.paused), "the state says that it is over");
	bed_stop(bed);
}

static void
check_outage(void)
{
	Bed *bed = BED_START(maybe_hang, "somabrain_timeout", "300", "retry_initial", "100");
	int	 asked;

	bed->knob = 1;
	bed_push_many(bed, 1, 100, "t", 20);
	BED_UNTIL(bed, bed->drive.state.circuit != SMEM_CIRCUIT_CLOSED);
	smem_frame_pause(&bed->drive.out, true);
	tap_ok(BED_UNTIL(bed, bed->drive.state.paused && bed->drive.state.in_flight == 0),
		   "requests without an answer are given up as ever");
	asked = bed->asked;
	bed_pass(bed, 2500);
	tap_is_int(bed->asked, asked, "not even a probe goes out");
	tap_ok(bed->drive.state.next_attempt_us == 0, "and none is announced");
	bed->knob = 0;
	smem_frame_pause(&bed->drive.out, false);
	tap_ok(BED_UNTIL(bed, bed->done == 100) && bed_all(bed, 1, 100, 1) && bed_ordered(bed),
		   "then all go, in order");
	bed_stop(bed);
}

static void
check_both_at_once(void)
{
	Bed *bed = BED_START(NULL, NULL);

	BED_UNTIL(bed, bed->drive.states > 0);
	/* The state that says the row is on the wire has just gone out. */
	bed_push(bed, 1, "t", "s");
	BED_UNTIL(bed, bed->done == 1);
	smem_frame_pause(&bed->drive.out, true);
	settle(bed);
	settle(bed);
	tap_ok(bed->drive.state.paused, "a pause shows at once, however young the last state is");
	smem_frame_pause(&bed->drive.out, true);
	smem_frame_pause(&bed->drive.out, false);
	smem_frame_pause(&bed->drive.out, false);
	bed_push(bed, 2, "t", "s");
	tap_ok(BED_UNTIL(bed, bed->done == 2), "saying it twice changes nothing");
	bed_stop(bed);
}

int
main(void)
{
	check_end_of_wire();
	check_outage();
	check_both_at_once();
	return tap_done();
}
