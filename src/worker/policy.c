#include "postgres.h"

#include "worker/policy.h"

#include <unistd.h>

#include "core/ask.h"
#include "pg/meter.h"
#include "utils/timestamp.h"
#include "worker/attendant.h"
#include "worker/config.h"

/* Sessions refuse from now on; who connects to what is left would wait for nobody. */
static void
remove_socket(void)
{
	(void) unlink(SMEM_ASK_SOCKET);
}

static void
note_state(const SmemSinkState *state)
{
	SmemOutage *outage = &smem_outages()->policy;
	TimestampTz now = GetCurrentTimestamp();

	if (state->circuit == SMEM_CIRCUIT_CLOSED && state->failures == 0)
		smem_outage_over(outage, SMEM_COMPONENT_OPA, now, 0);
	else
		smem_outage_seen(outage, SMEM_COMPONENT_OPA, SMEM_OUTAGE_CIRCUIT_OPEN, now,
						 state->circuit != SMEM_CIRCUIT_CLOSED);
}

static void
note_loss(void)
{
	smem_outage_seen(&smem_outages()->policy, SMEM_COMPONENT_OPA, SMEM_OUTAGE_COURIER_LOST,
					 GetCurrentTimestamp(), true);
}

void
smem_policy_main(Datum arg)
{
	static const SmemAttendantOps ops = {
		.name = "policy worker",
		.config = smem_config_policy_frame,
		.told = note_state,
		.lost = note_loss,
		.stopped = remove_socket,
	};

	smem_attend(&smem_shared->policy, &ops);
}
