/*
 * Entry of the library: settings in any process that loads it, shared memory
 * and workers only where it was preloaded.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "pg/settings.h"
#include "pg/shmem.h"
#include "pg/xact.h"
#include "policy/shared.h"
#include "worker/launcher.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	smem_settings_define();
	smem_xact_install();
	if (!process_shared_preload_libraries_in_progress)
		return;
	smem_shmem_install();
	smem_policy_install();
	smem_utility_install();
	smem_launcher_register();
}
