#include "postgres.h"

#include "worker/policy.h"

#include <unistd.h>

#include "core/ask.h"
#include "worker/attendant.h"
#include "worker/config.h"

/* Sessions refuse from now on; who connects to what is left would wait for nobody. */
static void
remove_socket(void)
{
	(void) unlink(SMEM_ASK_SOCKET);
}

void
smem_policy_main(Datum arg)
{
	static const SmemAttendantOps ops = {
		.name = "policy worker",
		.config = smem_config_policy_frame,
		.stopped = remove_socket,
	};

	smem_attend(&smem_shared->policy, &ops);
}
