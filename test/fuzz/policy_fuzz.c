/*
 * The built-in rules, and the search for personal data.
 *
 * Claims: an input is read where it is a JSON object, and only there; what was read lies in
 * the text or in the arena; nobody is let into another tenant's memory; an answer does not change
 * by members that no rule knows.  Of a text that is masked, nothing is found any more, and what was
 * UTF-8 still is.
 */
#include "core/policy.h"

#include "core/json.h"
#include "core/pii.h"
#include "core/table.h"
#include "fuzz.h"

static bool
is_object(SmemStr text)
{
	SmemStr		 value;
	SmemJsonWalk walk;

	return smem_json_check(text, &value) && smem_json_object(value, &walk);
}

static void
check_value(const SmemPolicyValue *value, SmemStr text, const SmemBuf *arena)
{
	SmemStr inside = {arena->data, smem_buf_len(arena)};

	FUZZ_CLAIM(value->kind <= SMEM_POLICY_OBJECT);
	FUZZ_CLAIM(value->kind == SMEM_POLICY_WHOLE || value->number == 0);
	FUZZ_CLAIM(value->number < UINT64_C(1000000000000000000));
	if (value->kind != SMEM_POLICY_STRING && value->kind != SMEM_POLICY_ARRAY)
	{
		FUZZ_CLAIM(value->text.len == 0);
		return;
	}
	FUZZ_CLAIM(is_within(value->text, text) || is_within(value->text, inside));
	FUZZ_CLAIM(is_utf8(value->text));
}

static bool
is_same(const SmemPolicyValue *a, const SmemPolicyValue *b)
{
	return a->kind == SMEM_POLICY_STRING && b->kind == SMEM_POLICY_STRING && a->text.len > 0 &&
		   smem_str_equal(a->text, b->text);
}

static bool
is_named(const SmemPolicyValue *value)
{
	return value->kind > SMEM_POLICY_NULL &&
		   (value->kind != SMEM_POLICY_STRING || value->text.len > 0);
}

static bool
is_prefixed(const SmemPolicyValue *value, const char *prefix)
{
	return value->text.len >= strlen(prefix) &&
		   memcmp(value->text.data, prefix, strlen(prefix)) == 0;
}

/* What holds for everybody who was let in. */
static void
check_allowed(const SmemPolicyInput *in, SmemPolicyRule rule)
{
	FUZZ_CLAIM(in->action.kind == SMEM_POLICY_STRING);
	if (rule == SMEM_POLICY_ADMINISTRATOR)
		FUZZ_CLAIM(in->context.is_admin.kind == SMEM_POLICY_TRUE &&
				   is_same(&in->context.session_tenant, &in->tenant));
	if (is_prefixed(&in->action, "memory.write"))
	{
		FUZZ_CLAIM(!is_named(&in->payload.tenant) || is_same(&in->payload.tenant, &in->tenant));
		FUZZ_CLAIM(!is_named(&in->payload.metadata_tenant) ||
				   is_same(&in->payload.metadata_tenant, &in->tenant));
	}
	if (is_prefixed(&in->action, "memory.recall"))
		FUZZ_CLAIM(!is_named(&in->query_tenant) || is_same(&in->query_tenant, &in->tenant));
	if (is_prefixed(&in->action, "conversation.") || is_prefixed(&in->action, "memory.recall"))
		FUZZ_CLAIM(is_same(&in->context.session_tenant, &in->tenant));
	if (is_prefixed(&in->action, "tool.catalog"))
		FUZZ_CLAIM(rule == SMEM_POLICY_ADMINISTRATOR);
}

/* The same object with a member in front that no rule knows. */
static SmemPolicyDecision
decide_with_stranger(SmemStr text)
{
	SmemPolicyDecision decision;
	SmemPolicyInput	   input;
	SmemBuf			   longer;
	SmemBuf			   arena;
	SmemStr			   value;
	SmemStr			   json;
	SmemStr			   rest;

	FUZZ_CLAIM(smem_json_check(text, &value));
	rest.data = value.data + 1;
	rest.len = value.len - 1;
	smem_buf_init(&longer, SMEM_FRAME_MAX);
	smem_buf_init(&arena, SMEM_FRAME_MAX);
	smem_buf_puts(&longer, "{\"Tenant\":{\"tenant\":\"x\"}");
	if (memchr(rest.data, ':', rest.len) != NULL)
		smem_buf_puts(&longer, ",");
	smem_buf_append(&longer, rest.data, rest.len);
	json.data = smem_buf_head(&longer);
	json.len = smem_buf_len(&longer);
	FUZZ_CLAIM(smem_policy_read(json, &arena, &input));
	decision = smem_policy_decide(&input);
	smem_buf_free(&longer);
	smem_buf_free(&arena);
	return decision;
}

static void
check_policy(SmemStr text)
{
	SmemPolicyInput		   input;
	SmemPolicyDecision	   decision;
	SmemPolicyDecision	   again;
	SmemBuf				   arena;
	const SmemPolicyValue *values = (const SmemPolicyValue *) &input;
	bool				   read;

	smem_buf_init(&arena, SMEM_FRAME_MAX);
	read = smem_policy_read(text, &arena, &input);
	FUZZ_CLAIM(read == is_object(text));
	if (read)
	{
		for (size_t i = 0; i < sizeof(input) / sizeof(values[0]); i++)
			check_value(&values[i], text, &arena);
		decision = smem_policy_decide(&input);
		again = decide_with_stranger(text);
		FUZZ_CLAIM(decision.rule == again.rule && decision.allow == again.allow);
		FUZZ_CLAIM((int) decision.rule >= 0 && (int) decision.rule < SMEM_POLICY_RULES);
		FUZZ_CLAIM(smem_policy_reason(decision.rule) != NULL);
		FUZZ_CLAIM(decision.allow == (decision.rule == SMEM_POLICY_ALLOWED ||
									  decision.rule == SMEM_POLICY_ADMINISTRATOR));
		if (decision.allow)
			check_allowed(&input, decision.rule);
	}
	smem_buf_free(&arena);
}

static void
check_pii(SmemStr text)
{
	SmemBuf out;
	SmemStr masked;
	bool	found = smem_pii_found(text);

	smem_buf_init(&out, SMEM_FRAME_MAX);
	FUZZ_CLAIM(smem_pii_mask(text, &out) == found);
	if (found)
	{
		masked.data = smem_buf_head(&out);
		masked.len = smem_buf_len(&out);
		FUZZ_CLAIM(!smem_pii_found(masked));
		FUZZ_CLAIM(!is_utf8(text) || is_utf8(masked));
	}
	else
		FUZZ_CLAIM(smem_buf_len(&out) == 0);
	smem_buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input	in = {data, size};
	SmemStr text = copy_rest(&in);

	check_policy(text);
	check_pii(text);
	free((char *) text.data);
	return 0;
}
