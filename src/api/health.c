/*
 * SQL face of the health document.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pg/health.h"
#include "policy/binding.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(somamem_health);

/* Depth of the members of one component. */
#define COMPONENT_DEPTH 3

/* The document with nothing of a component but its status: all else is of all tenants. */
static Jsonb *
keep_statuses(Jsonb *document)
{
	JsonbParseState	  *state = NULL;
	JsonbValue		  *result = NULL;
	JsonbIterator	  *it = JsonbIteratorInit(&document->root);
	JsonbValue		   value;
	JsonbIteratorToken token;
	int				   depth = 0;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY && depth == COMPONENT_DEPTH &&
			(value.val.string.len != 6 || memcmp(value.val.string.val, "status", 6) != 0))
		{
			(void) JsonbIteratorNext(&it, &value, true);
			continue;
		}
		depth += (token == WJB_BEGIN_OBJECT) - (token == WJB_END_OBJECT);
		result =
			pushJsonbValue(&state, token, token == WJB_KEY || token == WJB_VALUE ? &value : NULL);
	}
	return JsonbValueToJsonb(result);
}

Datum
somamem_health(PG_FUNCTION_ARGS)
{
	StringInfoData text;
	SmemStr		   tenant;
	Datum		   document;

	smem_require_preload();
	initStringInfo(&text);
	(void) smem_health_write(&text, smem_my_database(), get_database_name(MyDatabaseId));
	document = DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
	if (smem_bound_tenant(fcinfo, &tenant))
		PG_RETURN_JSONB_P(keep_statuses(DatumGetJsonbP(document)));
	return document;
}
