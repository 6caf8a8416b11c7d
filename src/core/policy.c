#include "core/policy.h"

#include <string.h>

#include "core/json.h"
#include "core/pii.h"
#include "core/table.h"

#define SMEM_POLICY_ECHO_MAX 10000
#define SMEM_POLICY_INGEST_MAX (50 * 1024 * 1024)

typedef SmemPolicyRule (*SmemPolicyCheck)(const SmemPolicyInput *in);

typedef struct SmemPolicyRow
{
	const char	   *action;
	const char	   *resource; /* NULL: not looked at */
	SmemPolicyCheck always;	  /* holds for administrators too; NULL: nothing */
	SmemPolicyCheck crosses;  /* what an administrator of the tenant may not either */
	SmemPolicyCheck check;	  /* for everybody else */
} SmemPolicyRow;

static bool
is_text(const SmemPolicyValue *value)
{
	return value->kind == SMEM_POLICY_STRING && value->text.len > 0;
}

static bool
is_word(const SmemPolicyValue *value, const char *word)
{
	return value->kind == SMEM_POLICY_STRING && smem_str_equal(value->text, smem_str(word));
}

/* Nothing empty is equal to anything. */
static bool
is_equal(const SmemPolicyValue *a, const SmemPolicyValue *b)
{
	return is_text(a) && is_text(b) && smem_str_equal(a->text, b->text);
}

/* Neither left out nor left empty: then it has to be right. */
static bool
is_named(const SmemPolicyValue *value)
{
	if (value->kind == SMEM_POLICY_STRING)
		return value->text.len > 0;
	return value->kind != SMEM_POLICY_ABSENT && value->kind != SMEM_POLICY_NULL;
}

static bool
is_open(const SmemPolicyValue *value)
{
	return value->kind == SMEM_POLICY_ABSENT || value->kind == SMEM_POLICY_NULL;
}

static bool
is_other_tenant(const SmemPolicyInput *in, const SmemPolicyValue *value)
{
	return is_named(value) && !is_equal(value, &in->tenant);
}

static bool
has_pii(const SmemPolicyValue *value)
{
	return value->kind == SMEM_POLICY_STRING && smem_pii_found(value->text);
}

static SmemPolicyRule
check_payload_agrees(const SmemPolicyInput *in)
{
	const SmemPolicyValue *tenant = &in->payload.tenant;
	const SmemPolicyValue *metadata = &in->payload.metadata_tenant;

	if (is_named(tenant) && is_named(metadata) && !is_equal(tenant, metadata))
		return SMEM_POLICY_PAYLOAD_TENANTS_DIFFER;
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_payload_stays(const SmemPolicyInput *in)
{
	if (is_other_tenant(in, &in->payload.tenant) ||
		is_other_tenant(in, &in->payload.metadata_tenant))
		return SMEM_POLICY_PAYLOAD_TENANT;
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_query_stays(const SmemPolicyInput *in)
{
	return is_other_tenant(in, &in->query_tenant) ? SMEM_POLICY_QUERY_TENANT : SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_settings_key(const SmemPolicyInput *in)
{
	return in->payload.key.kind == SMEM_POLICY_STRING ? SMEM_POLICY_ALLOWED
													  : SMEM_POLICY_SETTINGS_KEY;
}

/* The count and the limit are whole and not negative, or nothing is known of either. */
static bool
is_within_rate(const SmemPolicyInput *in)
{
	const SmemPolicyValue *writes = &in->context.writes_last_minute;
	const SmemPolicyValue *limit = &in->context.rate_limit_per_minute;
	uint64_t			   most = SMEM_POLICY_RATE_LIMIT_DEFAULT;

	if (!is_open(writes) && writes->kind != SMEM_POLICY_WHOLE)
		return false;
	if (!is_open(limit))
	{
		if (limit->kind != SMEM_POLICY_WHOLE)
			return false;
		most = limit->number;
	}
	return most == 0 || writes->number < most;
}

static SmemPolicyRule
check_write(const SmemPolicyInput *in)
{
	if (!is_text(&in->tenant))
		return SMEM_POLICY_TENANT_MISSING;
	if (!is_named(&in->payload.tenant) && !is_named(&in->payload.metadata_tenant))
		return SMEM_POLICY_PAYLOAD_TENANT;
	if (check_payload_stays(in) != SMEM_POLICY_ALLOWED)
		return SMEM_POLICY_PAYLOAD_TENANT;
	if (!is_within_rate(in))
		return SMEM_POLICY_RATE_LIMIT;
	if (is_word(&in->context.pii_filter, "deny") && has_pii(&in->payload.content))
		return SMEM_POLICY_PII;
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_write_conversation(const SmemPolicyInput *in)
{
	if (!is_text(&in->tenant))
		return SMEM_POLICY_TENANT_MISSING;
	if (!is_equal(&in->payload.metadata_tenant, &in->tenant) ||
		is_other_tenant(in, &in->payload.tenant))
		return SMEM_POLICY_PAYLOAD_TENANT;
	if (has_pii(&in->payload.content))
		return SMEM_POLICY_PII;
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_session(const SmemPolicyInput *in)
{
	if (!is_text(&in->tenant))
		return SMEM_POLICY_TENANT_MISSING;
	if (!is_equal(&in->context.session_tenant, &in->tenant))
		return SMEM_POLICY_SESSION_TENANT;
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_recall(const SmemPolicyInput *in)
{
	if (is_text(&in->tenant) && !is_equal(&in->query_tenant, &in->tenant))
		return SMEM_POLICY_QUERY_TENANT;
	return check_session(in);
}

static SmemPolicyRule
check_delete(const SmemPolicyInput *in)
{
	return is_equal(&in->context.session_owner, &in->context.user) ? SMEM_POLICY_ALLOWED
																   : SMEM_POLICY_NOT_OWNER;
}

static SmemPolicyRule
check_echo(const SmemPolicyInput *in)
{
	const SmemPolicyValue *text = &in->payload.args_text;
	size_t				   n = 0;

	if (text->kind != SMEM_POLICY_STRING)
		return SMEM_POLICY_ECHO_TEXT;
	for (size_t i = 0; i < text->text.len; i++)
		n += ((unsigned char) text->text.data[i] & 0xC0) != 0x80;
	return n <= SMEM_POLICY_ECHO_MAX ? SMEM_POLICY_ALLOWED : SMEM_POLICY_ECHO_TEXT;
}

static SmemPolicyRule
check_timestamp(const SmemPolicyInput *in)
{
	const SmemPolicyValue *format = &in->payload.args_format;

	if (is_word(format, "ISO") || is_word(format, "UNIX") || is_word(format, "RFC3339") ||
		is_word(format, "US"))
		return SMEM_POLICY_ALLOWED;
	return SMEM_POLICY_TIMESTAMP_FORMAT;
}

static SmemPolicyRule
check_ingest(const SmemPolicyInput *in)
{
	const SmemPolicyValue *size = &in->payload.args_size_bytes;
	SmemJsonWalk		   walk;
	SmemStr				   element;

	if (size->kind != SMEM_POLICY_WHOLE || size->number > SMEM_POLICY_INGEST_MAX)
		return SMEM_POLICY_INGEST_SIZE;
	if (!is_text(&in->tenant) || in->context.allowed_tenants.kind != SMEM_POLICY_ARRAY ||
		!smem_json_array(in->context.allowed_tenants.text, &walk))
		return SMEM_POLICY_INGEST_TENANT;
	while (smem_json_element(&walk, &element))
	{
		if (smem_json_equals(element, in->tenant.text))
			return SMEM_POLICY_ALLOWED;
	}
	return SMEM_POLICY_INGEST_TENANT;
}

/* The next character in lower case, where that is ASCII; bytes of others stay. */
static char
take_lower(const char **p, const char *end)
{
	char c = *(*p)++;

	if (c >= 'A' && c <= 'Z')
		return (char) (c | 0x20);
	/* The only two beyond ASCII whose small letter is within: the sign of Kelvin, and I with a dot. */
	if (c == '\xE2' && end - *p >= 2 && (*p)[0] == '\x84' && (*p)[1] == '\xAA')
	{
		*p += 2;
		return 'k';
	}
	if (c == '\xC4' && end - *p >= 1 && (*p)[0] == '\xB0')
	{
		*p += 1;
		return 'i';
	}
	return c;
}

/* Whether the word, in lower case and ASCII, begins here. */
static bool
has_word(const char *p, const char *end, const char *word)
{
	while (*word != '\0' && p < end)
	{
		if (take_lower(&p, end) != *word++)
			return false;
	}
	return *word == '\0';
}

static SmemPolicyRule
check_settings(const SmemPolicyInput *in)
{
	static const char *const words[] = {"api_key", "secret_key", "password", "token",
										"private_key"};
	const char				*p = in->payload.key.text.data;
	const char				*end = p + in->payload.key.text.len;

	for (; p < end; p++)
	{
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		{
			if (has_word(p, end, words[i]))
				return SMEM_POLICY_SETTINGS_SENSITIVE;
		}
	}
	return SMEM_POLICY_ALLOWED;
}

static SmemPolicyRule
check_administrator(const SmemPolicyInput *in)
{
	(void) in;
	return SMEM_POLICY_NOT_ADMIN;
}

static SmemPolicyRule
check_tool_unknown(const SmemPolicyInput *in)
{
	(void) in;
	return SMEM_POLICY_TOOL_UNKNOWN;
}

static SmemPolicyRule
check_unknown(const SmemPolicyInput *in)
{
	(void) in;
	return SMEM_POLICY_UNKNOWN_ACTION;
}

static const SmemPolicyRow rows[SMEM_POLICY_ROWS] = {
	{"memory.write", "somabrain", check_payload_agrees, check_payload_stays, check_write},
	{"memory.write", "conversation_memory", check_payload_agrees, check_payload_stays,
	 check_write_conversation},
	{"memory.recall", NULL, NULL, check_query_stays, check_recall},
	{"memory.delete", NULL, NULL, NULL, check_delete},
	{"conversation.send", NULL, NULL, NULL, check_session},
	{"conversation.reset", NULL, NULL, NULL, check_session},
	{"conversation.delete", NULL, NULL, NULL, check_session},
	{"tool.execute", "echo", NULL, NULL, check_echo},
	{"tool.execute", "timestamp", NULL, NULL, check_timestamp},
	{"tool.execute", "document_ingest", NULL, NULL, check_ingest},
	{"settings.update", NULL, check_settings_key, NULL, check_settings},
	{"tool.catalog.update", NULL, NULL, NULL, check_administrator},
	{"tool.execute", NULL, check_tool_unknown, NULL, NULL},
	{NULL, NULL, check_unknown, NULL, NULL},
};

/* An administrator of another tenant is nothing at all. */
static bool
is_administrator(const SmemPolicyInput *in)
{
	return in->context.is_admin.kind == SMEM_POLICY_TRUE &&
		   is_equal(&in->context.session_tenant, &in->tenant);
}

static SmemPolicyRule
ask(SmemPolicyCheck check, const SmemPolicyInput *in)
{
	return check == NULL ? SMEM_POLICY_ALLOWED : check(in);
}

static SmemPolicyRule
apply_row(const SmemPolicyRow *row, const SmemPolicyInput *in)
{
	SmemPolicyRule rule = ask(row->always, in);

	if (rule != SMEM_POLICY_ALLOWED)
		return rule;
	if (!is_administrator(in))
		return row->check(in);
	rule = ask(row->crosses, in);
	return rule == SMEM_POLICY_ALLOWED ? SMEM_POLICY_ADMINISTRATOR : rule;
}

int
smem_policy_row(SmemStr action, SmemStr resource)
{
	int i = 0;

	for (; rows[i].action != NULL; i++)
	{
		if (smem_str_equal(action, smem_str(rows[i].action)) &&
			(rows[i].resource == NULL || smem_str_equal(resource, smem_str(rows[i].resource))))
			break;
	}
	return i;
}

const char *
smem_policy_row_action(int row)
{
	return rows[row].action == NULL ? "other" : rows[row].action;
}

const char *
smem_policy_row_resource(int row)
{
	return rows[row].resource == NULL ? "any" : rows[row].resource;
}

SmemPolicyDecision
smem_policy_decide(const SmemPolicyInput *input)
{
	/* What is no string has no text that a row is named like. */
	int				   row = smem_policy_row(input->action.text, input->resource.text);
	SmemPolicyDecision decision;

	decision.rule = apply_row(&rows[row], input);
	decision.allow =
		decision.rule == SMEM_POLICY_ALLOWED || decision.rule == SMEM_POLICY_ADMINISTRATOR;
	return decision;
}

static void
set_text(SmemPolicyValue *value, SmemStr text)
{
	value->kind = text.data == NULL ? SMEM_POLICY_ABSENT : SMEM_POLICY_STRING;
	value->text = text;
}

static void
set_number(SmemPolicyValue *value, uint32_t number)
{
	value->kind = SMEM_POLICY_WHOLE;
	value->number = number;
}

void
smem_policy_input_write(SmemPolicyInput *input, SmemStr tenant, SmemStr content, bool pii_deny,
						uint32_t writes_last_minute, uint32_t limit)
{
	memset(input, 0, sizeof(*input));
	set_text(&input->action, smem_str("memory.write"));
	set_text(&input->resource, smem_str("somabrain"));
	set_text(&input->tenant, tenant);
	set_text(&input->payload.tenant, tenant);
	set_text(&input->payload.content, content);
	set_text(&input->context.pii_filter, smem_str(pii_deny ? "deny" : "off"));
	set_number(&input->context.writes_last_minute, writes_last_minute);
	set_number(&input->context.rate_limit_per_minute, limit);
}

static const struct
{
	const char *name;
	const char *reason;
} rules[SMEM_POLICY_RULES] = {
	[SMEM_POLICY_ALLOWED] = {"allowed", "allowed"},
	[SMEM_POLICY_ADMINISTRATOR] = {"administrator", "allowed to an administrator of the tenant"},
	[SMEM_POLICY_UNKNOWN_ACTION] = {"unknown_action",
									"no rule allows this action on this resource"},
	[SMEM_POLICY_TOOL_UNKNOWN] = {"tool_unknown", "the tool is not known"},
	[SMEM_POLICY_PAYLOAD_TENANTS_DIFFER] = {"payload_tenants_differ",
											"payload.tenant and payload.metadata.tenant differ"},
	[SMEM_POLICY_SETTINGS_KEY] = {"settings_key", "payload.key must be a string"},
	[SMEM_POLICY_TENANT_MISSING] = {"tenant_missing", "tenant must be a non-empty string"},
	[SMEM_POLICY_PAYLOAD_TENANT] = {"payload_tenant",
									"tenant is not the tenant that the payload names"},
	[SMEM_POLICY_RATE_LIMIT] = {"rate_limit", "the tenant has used up its writes of this minute"},
	[SMEM_POLICY_PII] = {"pii", "payload.content has an e-mail address or a telephone number"},
	[SMEM_POLICY_QUERY_TENANT] = {"query_tenant", "tenant is not query.tenant"},
	[SMEM_POLICY_SESSION_TENANT] = {"session_tenant", "the session does not belong to the tenant"},
	[SMEM_POLICY_NOT_OWNER] =
		{"not_owner", "only the owner of the session or an administrator of its tenant may delete"},
	[SMEM_POLICY_ECHO_TEXT] = {"echo_text",
							   "payload.args.text must be a string of at most 10000 characters"},
	[SMEM_POLICY_TIMESTAMP_FORMAT] = {"timestamp_format",
									  "payload.args.format must be ISO, UNIX, RFC3339 or US"},
	[SMEM_POLICY_INGEST_SIZE] =
		{"ingest_size", "payload.args.size_bytes must be a whole number from 0 to 52428800"},
	[SMEM_POLICY_INGEST_TENANT] = {"ingest_tenant", "tenant is not in context.allowed_tenants"},
	[SMEM_POLICY_SETTINGS_SENSITIVE] = {"settings_sensitive",
										"only an administrator may change a sensitive setting"},
	[SMEM_POLICY_NOT_ADMIN] = {"not_admin", "only an administrator may change the tool catalog"},
};

const char *
smem_policy_rule_name(SmemPolicyRule rule)
{
	return rules[rule].name;
}

const char *
smem_policy_reason(SmemPolicyRule rule)
{
	return rules[rule].reason;
}
