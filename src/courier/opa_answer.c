/*
 * Reads what OPA answers: {"result": value}, or {} where there is no value.
 */
#include "courier/opa.h"

#include "core/json.h"

/* A string that jsonb could hold, too: no NUL in it. */
static SmemStr
string_or_absent(SmemStr value)
{
	SmemStr absent = {NULL, 0};

	return smem_json_is_string(value) && smem_json_storable(value) ? value : absent;
}

static void
read_object(SmemJsonWalk *walk, SmemOpaResult *result)
{
	SmemStr name;
	SmemStr value;

	while (smem_json_member(walk, &name, &value))
	{
		if (smem_json_equals(name, smem_str("reason")))
			result->reason = string_or_absent(value);
		else if (smem_json_equals(name, smem_str("rule")))
			result->rule = string_or_absent(value);
		else if (smem_json_equals(name, smem_str("allow")))
			result->allows = smem_json_is(value, "true");
	}
}

static void
read_result(SmemStr value, SmemOpaResult *result)
{
	SmemJsonWalk walk;

	if (smem_json_is(value, "true"))
		result->kind = SMEM_OPA_TRUE;
	else if (smem_json_is(value, "false"))
		result->kind = SMEM_OPA_FALSE;
	else if (smem_json_object(value, &walk))
	{
		result->kind = SMEM_OPA_OBJECT;
		read_object(&walk, result);
	}
	else
		result->kind = SMEM_OPA_OTHER;
}

void
smem_opa_read(SmemStr body, SmemOpaResult *result)
{
	SmemJsonWalk walk;
	SmemStr		 value;
	SmemStr		 name;

	*result = (SmemOpaResult){.kind = SMEM_OPA_GARBAGE};
	if (!smem_json_check(body, &value) || !smem_json_object(value, &walk))
		return;
	result->kind = SMEM_OPA_UNDEFINED;
	while (smem_json_member(&walk, &name, &value))
	{
		if (smem_json_equals(name, smem_str("result")))
			read_result(value, result);
	}
}
