/*
 * The input of a decision, out of JSON.
 *
 * Of repeated names the last counts, so each member replaces what an earlier
 * one of its name left, all of its own members included.
 */
#include "core/policy.h"

#include <string.h>

#include "core/json.h"

/* Digits of a number that is counted out: one with more is no count and no size. */
#define SMEM_POLICY_DIGITS 18

typedef struct SmemMember SmemMember;

/* A member that the rules look at: a value of the input, or an object of such. */
struct SmemMember
{
	const char		 *name;
	size_t			  value; /* where it stands in the input */
	const SmemMember *members;
};

#define VALUE(name, field)                                                                         \
	{                                                                                              \
		name, offsetof(SmemPolicyInput, field), NULL                                               \
	}
#define OBJECT(name, members)                                                                      \
	{                                                                                              \
		name, 0, members                                                                           \
	}
#define END                                                                                        \
	{                                                                                              \
		NULL, 0, NULL                                                                              \
	}

static const SmemMember metadata_members[] = {VALUE("tenant", payload.metadata_tenant), END};

static const SmemMember args_members[] = {
	VALUE("text", payload.args_text),
	VALUE("format", payload.args_format),
	VALUE("size_bytes", payload.args_size_bytes),
	END,
};

static const SmemMember payload_members[] = {
	VALUE("tenant", payload.tenant), VALUE("content", payload.content),
	VALUE("key", payload.key),		 OBJECT("metadata", metadata_members),
	OBJECT("args", args_members),	 END,
};

static const SmemMember context_members[] = {
	VALUE("is_admin", context.is_admin),
	VALUE("session_tenant", context.session_tenant),
	VALUE("session_owner", context.session_owner),
	VALUE("user", context.user),
	VALUE("writes_last_minute", context.writes_last_minute),
	VALUE("rate_limit_per_minute", context.rate_limit_per_minute),
	VALUE("pii_filter", context.pii_filter),
	VALUE("allowed_tenants", context.allowed_tenants),
	END,
};

static const SmemMember query_members[] = {VALUE("tenant", query_tenant), END};

static const SmemMember input_members[] = {
	VALUE("action", action),
	VALUE("resource", resource),
	VALUE("tenant", tenant),
	OBJECT("payload", payload_members),
	OBJECT("context", context_members),
	OBJECT("query", query_members),
	END,
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What stands behind the e, up to a bound that no text's digits make up for. */
static int64_t
read_exponent(const char *p, const char *end)
{
	bool	negative = p < end && *p == '-';
	int64_t exponent = 0;

	for (; p < end; p++)
	{
		if (is_digit(*p) && exponent < INT64_MAX / 100)
			exponent = exponent * 10 + (*p - '0');
	}
	return negative ? -exponent : exponent;
}

/* The digits up to the last one, and zeros up to the point. */
static uint64_t
count_out(const char *p, int64_t last, int64_t point)
{
	uint64_t number = 0;

	for (int64_t n = 0; n < point; p++)
	{
		if (n <= last && *p == '.')
			continue;
		number = number * 10 + (n <= last ? (uint64_t) (*p - '0') : 0);
		n++;
	}
	return number;
}

/*
 * Reads the number by its digits, so that nothing is rounded: it is whole
 * where the last digit other than 0 stands, moved by the exponent, before the
 * point.
 */
static void
read_number(SmemStr json, SmemPolicyValue *value)
{
	const char *end = json.data + json.len;
	const char *p = json.data;
	int64_t		point = -1; /* digits before it */
	int64_t		first = -1; /* the first digit other than 0, and the last one */
	int64_t		last = -1;
	int64_t		n = 0;

	for (p += *p == '-'; p < end && (is_digit(*p) || *p == '.'); p++)
	{
		if (*p == '.')
		{
			point = n;
			continue;
		}
		if (*p != '0')
		{
			first = first < 0 ? n : first;
			last = n;
		}
		n++;
	}
	point = point < 0 ? n : point;
	if (p < end)
		point += read_exponent(p + 1, end);
	value->kind = SMEM_POLICY_WHOLE;
	if (first < 0)
		return;
	if (json.data[0] == '-' || last >= point || point - first > SMEM_POLICY_DIGITS)
		value->kind = SMEM_POLICY_NUMBER;
	else
		value->number = count_out(json.data, last, point);
}

/* What a string stands for: where it lies, if it can be had there. */
static SmemStr
read_string(SmemBuf *arena, SmemStr json)
{
	SmemStr text = {json.data + 1, json.len - 2};
	size_t	from = smem_buf_len(arena);

	if (memchr(text.data, '\\', text.len) == NULL)
		return text;
	smem_json_unescape(arena, json);
	text.data = smem_buf_head(arena) + from;
	text.len = smem_buf_len(arena) - from;
	return text;
}

static void
read_value(SmemBuf *arena, SmemStr json, SmemPolicyValue *value)
{
	memset(value, 0, sizeof(*value));
	switch (json.data[0])
	{
		case '"':
			value->kind = SMEM_POLICY_STRING;
			value->text = read_string(arena, json);
			break;
		case '[':
			value->kind = SMEM_POLICY_ARRAY;
			value->text = json;
			break;
		case '{':
			value->kind = SMEM_POLICY_OBJECT;
			break;
		case 'n':
			value->kind = SMEM_POLICY_NULL;
			break;
		case 't':
			value->kind = SMEM_POLICY_TRUE;
			break;
		case 'f':
			value->kind = SMEM_POLICY_FALSE;
			break;
		default:
			read_number(json, value);
	}
}

static SmemPolicyValue *
value_of(SmemPolicyInput *input, const SmemMember *member)
{
	return (SmemPolicyValue *) ((char *) input + member->value);
}

static void
forget_members(SmemPolicyInput *input, const SmemMember *member)
{
	for (; member->name != NULL; member++)
	{
		if (member->members != NULL)
			forget_members(input, member->members);
		else
			memset(value_of(input, member), 0, sizeof(SmemPolicyValue));
	}
}

/* The nesting is that of the tables above.  What is no object is as if empty. */
static void
read_members(SmemBuf *arena, SmemStr json, const SmemMember *members, SmemPolicyInput *input)
{
	SmemJsonWalk walk;
	SmemStr		 name;
	SmemStr		 value;

	forget_members(input, members);
	if (!smem_json_object(json, &walk))
		return;
	while (smem_json_member(&walk, &name, &value))
	{
		const SmemMember *member = members;

		while (member->name != NULL && !smem_json_equals(name, smem_str(member->name)))
			member++;
		if (member->name == NULL)
			continue;
		if (member->members != NULL)
			read_members(arena, value, member->members, input);
		else
			read_value(arena, value, value_of(input, member));
	}
}

bool
smem_policy_read(SmemStr json, SmemBuf *arena, SmemPolicyInput *input)
{
	SmemStr		 object;
	SmemJsonWalk walk;

	memset(input, 0, sizeof(*input));
	if (!smem_json_check(json, &object) || !smem_json_object(object, &walk))
		return false;
	/* No text gets longer by what its escapes stand for: the arena does not move any more. */
	if (smem_buf_reserve(arena, object.len) == NULL)
		return false;
	read_members(arena, object, input_members, input);
	return !arena->failed;
}
