#include "core/outage.h"

bool
smem_outage_fails(SmemOutage *outage, int64_t now, bool broken)
{
	if (outage->since == 0)
		outage->since = now;
	outage->healed = 0;
	if (!broken || outage->begun)
		return false;
	outage->begun = true;
	return true;
}

int64_t
smem_outage_works(SmemOutage *outage, int64_t now, int64_t oldest)
{
	int64_t lasted;

	if (!outage->begun)
	{
		outage->since = 0;
		return 0;
	}
	if (outage->healed == 0)
		outage->healed = now;
	if (oldest != 0 && oldest <= outage->healed)
		return 0;
	lasted = now > outage->since ? now - outage->since : 1;
	*outage = (SmemOutage){0};
	return lasted;
}
