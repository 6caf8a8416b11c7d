#include "postgres.h"

#include "pg/latest.h"

#include "utils/snapmgr.h"

uint64
smem_latest_query(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	SPIPlanPtr plan = SPI_prepare(sql, nargs, types);
	int		   rc;

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	rc = SPI_execute_snapshot(plan, args, nulls, GetLatestSnapshot(), InvalidSnapshot, false, true,
							  0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(rc));
	return SPI_processed;
}

int64
smem_latest_number(int column)
{
	bool  isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}
