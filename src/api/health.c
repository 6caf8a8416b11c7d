/*
 * SQL face of the health document.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pg/health.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(somamem_health);

Datum
somamem_health(PG_FUNCTION_ARGS)
{
	StringInfoData text;

	smem_require_preload();
	initStringInfo(&text);
	(void) smem_health_write(&text, smem_my_database(), get_database_name(MyDatabaseId));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}
