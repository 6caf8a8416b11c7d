#include "postgres.h"

#include "worker/start.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "worker/launcher.h"

static void
fill_worker(BackgroundWorker *worker, const char *function, const char *name, Datum arg,
			const char *datname)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS;
	if (datname != NULL)
		worker->bgw_flags |= BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "somamem", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_extra, datname != NULL ? datname : "", BGW_EXTRALEN);
	worker->bgw_main_arg = arg;
	worker->bgw_notify_pid = MyProcPid;
}

/* Under pg_upgrade the tables are somebody else's work in progress: nothing runs. */
void
smem_launcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	fill_worker(&worker, "smem_launcher_main", "somamem launcher", (Datum) 0, "");
	worker.bgw_restart_time = 1;
	worker.bgw_notify_pid = 0;
	RegisterBackgroundWorker(&worker);
}

BackgroundWorkerHandle *
smem_worker_start(const char *function, const char *name, Datum arg, const char *datname,
				  bool reported)
{
	BackgroundWorker		worker;
	BackgroundWorkerHandle *handle = NULL;
	MemoryContext			outer = MemoryContextSwitchTo(TopMemoryContext);

	fill_worker(&worker, function, name, arg, datname);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		handle = NULL;
		if (!reported)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start \"%s\": no background worker slot is free", name),
					 errhint("Raise max_worker_processes.")));
	}
	MemoryContextSwitchTo(outer);
	return handle;
}
