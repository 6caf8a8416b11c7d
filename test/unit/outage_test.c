/* Outages: when one begins, when it is over, how long it was. */
#include "core/outage.h"
#include "tap.h"

static void
check_glitch(void)
{
	SmemOutage outage = {0};

	tap_ok(!smem_outage_fails(&outage, 100, false), "a failure alone is no outage");
	tap_is_int(smem_outage_works(&outage, 200, 0), 0, "and has no end");
	tap_ok(smem_outage_fails(&outage, 1000, true), "the next one is");
	tap_is_int(smem_outage_works(&outage, 1500, 0), 500,
			   "and is not as old as what was over before");
}

static void
check_outage(void)
{
	SmemOutage outage = {0};

	(void) smem_outage_fails(&outage, 100, false);
	tap_ok(smem_outage_fails(&outage, 300, true), "it begins when the circuit opens");
	tap_ok(!smem_outage_fails(&outage, 400, true), "and is counted once");
	tap_is_int(smem_outage_works(&outage, 1000, 150), 0, "it lasts while old rows wait");
	tap_is_int(smem_outage_works(&outage, 1100, 1000), 0, "also one of the moment of healing");
	tap_is_int(smem_outage_works(&outage, 1200, 1100), 1100,
			   "newer rows are not its own; it began with the first failure");
	tap_is_int(smem_outage_works(&outage, 1300, 0), 0, "it ends once");
}

static void
check_relapse(void)
{
	SmemOutage outage = {0};

	(void) smem_outage_fails(&outage, 100, true);
	(void) smem_outage_works(&outage, 500, 150);
	tap_ok(!smem_outage_fails(&outage, 600, true), "a relapse before the end is the same outage");
	tap_is_int(smem_outage_works(&outage, 900, 550), 0,
			   "what came before it works again is to be drained, too");
	tap_is_int(smem_outage_works(&outage, 1000, 950), 900, "then it is over");
	(void) smem_outage_fails(&outage, 5000, true);
	tap_is_int(smem_outage_works(&outage, 4000, 0), 1,
			   "a clock that goes back makes no time negative");
}

int
main(void)
{
	check_glitch();
	check_outage();
	check_relapse();
	return tap_done();
}
