/*
 * SQL face of owners, for erase: a log of many pages is looked through for
 * the few that hold one, which unnest would take eight times as long for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

PG_FUNCTION_INFO_V1(somamem_owns);

Datum
somamem_owns(PG_FUNCTION_ARGS)
{
	ArrayType	*owners = PG_GETARG_ARRAYTYPE_P(0);
	int64		 mask = PG_GETARG_INT64(1);
	int64		 owner = PG_GETARG_INT64(2);
	int			 n = ArrayGetNItems(ARR_NDIM(owners), ARR_DIMS(owners));
	const int64 *values = (const int64 *) ARR_DATA_PTR(owners);
	bool		 found = false;

	if (ARR_ELEMTYPE(owners) != INT8OID || ARR_HASNULL(owners))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("owners must be an array of bigint without nulls")));
	for (int i = 0; i < n && !found; i++)
		found = (values[i] & mask) == owner;
	PG_FREE_IF_COPY(owners, 0);
	PG_RETURN_BOOL(found);
}
