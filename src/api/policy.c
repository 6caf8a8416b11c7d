/*
 * SQL face of policy: authorize, and the figures of decisions.
 */
#include "postgres.h"

#include "core/policy.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pg/shmem.h"
#include "policy/binding.h"
#include "policy/decide.h"
#include "policy/refusals.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(somamem_authorize);
PG_FUNCTION_INFO_V1(somamem_policy_stats);
PG_FUNCTION_INFO_V1(somamem_decision_log);

Datum
somamem_authorize(PG_FUNCTION_ARGS)
{
	SmemPolicyCaller caller = {0};
	SmemPolicyAnswer answer;
	TupleDesc		 desc;
	Datum			 values[3];
	bool			 nulls[3] = {false, false, false};
	Jsonb			*input;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("input must not be null")));
	input = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(input))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"input\" must be a JSON object")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	smem_require_preload();
	caller.is_bound = smem_bound_tenant(fcinfo, &caller.tenant);
	smem_policy_authorize(&caller, input, &answer);
	values[0] = BoolGetDatum(answer.allow);
	values[1] = CStringGetTextDatum(answer.reason);
	values[2] = CStringGetTextDatum(smem_engine_name(answer.engine));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Figures are of all tenants together, so a bound role sees none. */
Datum
somamem_policy_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SmemDecisions  line;
	SmemStr		   tenant;

	smem_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	if (smem_bound_tenant(fcinfo, &tenant))
		return (Datum) 0;
	for (int i = 0; i < SMEM_COUNT_LINES; i++)
	{
		Datum values[7];
		bool  nulls[7] = {0};

		if (!smem_count_line(i, &line))
			continue;
		values[0] = CStringGetTextDatum(smem_policy_row_action(line.row));
		values[1] = CStringGetTextDatum(smem_policy_row_resource(line.row));
		values[2] = CStringGetTextDatum(smem_decided_name(line.decided));
		values[3] = CStringGetTextDatum(smem_engine_name(line.engine));
		values[4] = Int64GetDatum((int64) line.times.n);
		values[5] = Float8GetDatum(smem_decisions_ms(&line, 0.50));
		values[6] = Float8GetDatum(smem_decisions_ms(&line, 0.99));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
put_refusal(ReturnSetInfo *rsinfo, const SmemRefusal *refusal)
{
	const char *role = GetUserNameFromId(refusal->role, true);
	Datum		values[8];
	bool		nulls[8] = {0};

	values[0] = TimestampTzGetDatum(refusal->at);
	values[1] = CStringGetTextDatum(refusal->action);
	values[2] = CStringGetTextDatum(refusal->resource);
	values[3] = CStringGetTextDatum(refusal->tenant);
	values[4] = CStringGetTextDatum(role == NULL ? "" : role);
	nulls[4] = role == NULL;
	values[5] = CStringGetTextDatum(refusal->reason);
	values[6] = CStringGetTextDatum(smem_engine_name(refusal->engine));
	values[7] = BoolGetDatum(refusal->dry_run);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Of this database, and of the tenant that the caller is bound to. */
Datum
somamem_decision_log(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SmemRefusal	  *refusals;
	SmemStr		   tenant;
	bool		   is_bound;
	int			   n;

	smem_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	is_bound = smem_bound_tenant(fcinfo, &tenant);
	n = smem_refusals_read(&refusals);
	for (int i = 0; i < n; i++)
	{
		if (refusals[i].database != MyDatabaseId)
			continue;
		if (is_bound && (strlen(refusals[i].tenant) != tenant.len ||
						 memcmp(refusals[i].tenant, tenant.data, tenant.len) != 0))
			continue;
		put_refusal(rsinfo, &refusals[i]);
	}
	pfree(refusals);
	return (Datum) 0;
}
