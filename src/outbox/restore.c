#include "postgres.h"

#include "outbox/restore.h"

#include "outbox/snapshot.h"
#include "pg/query.h"

/* A restore by psql sets the sequence last; pg_restore may not, and is known by its name. */
bool
smem_restore_runs(void)
{
	static SmemQuery query = {
		"SELECT 1 FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()"
		" AND application_name = 'pg_restore' LIMIT 1"};

	return smem_last_id() == 0 || smem_query(&query, NULL, NULL, 1) > 0;
}
