/*
 * status, by id and by key.
 *
 * For a role that is bound to a tenant, a row of another one is like none.  By
 * id it knows its rows for as long as something stands there that names their
 * tenant; by key for as long as anybody does.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pg/compat.h"
#include "pg/definer.h"
#include "policy/binding.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(somamem_status_by_id);
PG_FUNCTION_INFO_V1(somamem_status_by_key);

/* Planned once a session: planning costs more than looking. */
typedef struct Question
{
	const char *sql;
	Oid			types[2];
	SPIPlanPtr	plan;
} Question;

static Question by_id = {
	"SELECT d.sink, d.state, d.attempts, d.delivered_at, d.receipt, d.last_error"
	" FROM somamem._delivery($1) AS d"
	" WHERE $2 IS NULL OR somamem._is_of($1, $2)",
	{INT8OID, TEXTOID},
	NULL};

static Question by_key = {
	"SELECT f.sink, coalesce(d.state, 'delivered'), coalesce(d.attempts, 1), d.delivered_at,"
	"  d.receipt, d.last_error"
	" FROM somamem.idempotency i CROSS JOIN somamem._sink_figures() AS f"
	" LEFT JOIN LATERAL somamem._delivery(i.id) AS d ON d.sink = f.sink"
	" WHERE i.key_hash = somamem._key_hash($1, $2)",
	{TEXTOID, TEXTOID},
	NULL};

static void
prepare(Question *question)
{
	if (question->plan != NULL)
		return;
	question->plan = SPI_prepare(question->sql, 2, question->types);
	if (question->plan == NULL || SPI_keepplan(question->plan) != 0)
	{
		question->plan = NULL;
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	}
}

/* Answers with the owner's rights; who asks was looked at before. */
static void
answer(ReturnSetInfo *rsinfo, Question *question, Datum *args, const char *nulls)
{
	SmemDefiner definer;

	smem_definer_enter(&definer);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	prepare(question);
	if (SPI_execute_plan(question->plan, args, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a delivery");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	smem_definer_leave(&definer);
}

Datum
somamem_status_by_id(PG_FUNCTION_ARGS)
{
	Datum	args[2] = {PG_GETARG_DATUM(0), 0};
	SmemStr bound;
	bool	is_bound;

	is_bound = smem_bound_tenant(fcinfo, &bound);
	if (is_bound)
		args[1] = PointerGetDatum(cstring_to_text_with_len(bound.data, bound.len));
	InitMaterializedSRF(fcinfo, 0);
	answer((ReturnSetInfo *) fcinfo->resultinfo, &by_id, args, is_bound ? NULL : " n");
	return (Datum) 0;
}

static bool
is_tenant(text *name, SmemStr tenant)
{
	return VARSIZE_ANY_EXHDR(name) == tenant.len &&
		   memcmp(VARDATA_ANY(name), tenant.data, tenant.len) == 0;
}

Datum
somamem_status_by_key(PG_FUNCTION_ARGS)
{
	text   *tenant = PG_GETARG_TEXT_PP(0);
	Datum	args[2] = {PointerGetDatum(tenant), PG_GETARG_DATUM(1)};
	SmemStr bound;
	bool	hidden;

	hidden = smem_bound_tenant(fcinfo, &bound) && !is_tenant(tenant, bound);
	InitMaterializedSRF(fcinfo, 0);
	if (!hidden)
		answer((ReturnSetInfo *) fcinfo->resultinfo, &by_key, args, NULL);
	return (Datum) 0;
}
