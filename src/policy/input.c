#include "postgres.h"

#include "policy/input.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pg/jsonb.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

SmemStr
smem_input_text(JsonbContainer *object, const char *name)
{
	SmemStr	   absent = {NULL, 0};
	JsonbValue value;

	if (!JsonContainerIsObject(object) || smem_jsonb_member(object, name, &value) == NULL ||
		value.type != jbvString)
		return absent;
	return smem_jsonb_string(&value);
}

SmemStr
smem_input_utf8(SmemStr text)
{
	char *utf8;

	if (!smem_str_present(text) || GetDatabaseEncoding() == PG_SQL_ASCII)
		return text;
	utf8 = pg_server_to_any(text.data, (int) text.len, PG_UTF8);
	return utf8 == text.data ? text : smem_str(utf8);
}

Jsonb *
smem_jsonb_merge(Jsonb *object, Jsonb *other)
{
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(object), JsonbPGetDatum(other)));
}

Jsonb *
smem_jsonb_of_text(const char *name, SmemStr text)
{
	JsonbParseState *state = NULL;
	JsonbValue		 key = {.type = jbvString};
	JsonbValue		 value = {.type = jbvString};
	JsonbValue		*whole;

	key.val.string.val = pstrdup(name);
	key.val.string.len = (int) strlen(name);
	value.val.string.val = (char *) text.data;
	value.val.string.len = (int) text.len;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(whole);
}

static Jsonb *
make_jsonb(JsonbContainer *container, int len)
{
	JsonbValue value = {.type = jbvBinary};

	value.val.binary.data = container;
	value.val.binary.len = len;
	return JsonbValueToJsonb(&value);
}

static void
append_text(StringInfo out, const char *name, SmemStr text)
{
	appendStringInfo(out, "\"%s\":", name);
	if (smem_str_present(text))
		escape_json(out, pnstrdup(text.data, text.len));
	else
		appendStringInfoString(out, "null");
}

static SmemStr
to_utf8(StringInfo text)
{
	char *utf8 = pg_server_to_any(text->data, text->len, PG_UTF8);

	return (SmemStr){utf8, utf8 == text->data ? (size_t) text->len : strlen(utf8)};
}

static const char *
pii_filter_name(void)
{
	static const char *const names[] = {"off", "deny", "redact"};

	return names[smem_guc_pii_filter];
}

/* What this server knows. */
static void
append_figures(StringInfo out, uint32_t writes_last_minute)
{
	appendStringInfo(out, "\"writes_last_minute\":%u,\"rate_limit_per_minute\":%d",
					 writes_last_minute, smem_guc_rate_limit_per_minute);
}

static void
append_context(StringInfo out, const SmemPolicyCaller *caller, const SmemPolicyWrite *write,
			   uint32_t writes_last_minute)
{
	appendStringInfoChar(out, '{');
	append_text(out, "user", smem_str(GetUserNameFromId(GetUserId(), false)));
	appendStringInfoChar(out, ',');
	append_text(out, "session_tenant", caller->tenant);
	appendStringInfoChar(out, ',');
	append_text(out, "session_id", write->session);
	appendStringInfoChar(out, ',');
	append_text(out, "namespace", write->namespace);
	appendStringInfo(out, ",\"is_admin\":false,\"pii_filter\":\"%s\",", pii_filter_name());
	append_figures(out, writes_last_minute);
	appendStringInfoChar(out, '}');
}

/* The payload, with the tenant that it is written for. */
static void
append_payload(StringInfo out, const SmemPolicyWrite *write)
{
	SmemStr named = smem_input_text(write->payload, "tenant");

	if (named.len > 0)
		(void) JsonbToCString(out, write->payload, write->payload_len);
	else
	{
		Jsonb *payload = smem_jsonb_merge(make_jsonb(write->payload, write->payload_len),
										  smem_jsonb_of_text("tenant", write->tenant));

		(void) JsonbToCString(out, &payload->root, VARSIZE(payload));
	}
}

SmemStr
smem_input_of_write(const SmemPolicyCaller *caller, const SmemPolicyWrite *write,
					uint32_t writes_last_minute)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"action\":\"memory.write\",\"resource\":\"somabrain\",");
	append_text(&out, "tenant", write->tenant);
	appendStringInfoString(&out, ",\"payload\":");
	append_payload(&out, write);
	appendStringInfoString(&out, ",\"context\":");
	append_context(&out, caller, write, writes_last_minute);
	appendStringInfoString(&out, ",\"query\":{}}");
	return to_utf8(&out);
}

/* The caller's context, where it is an object, with what is known better. */
static Jsonb *
make_context(JsonbContainer *input, uint32_t writes_last_minute)
{
	StringInfoData	known;
	JsonbValue		value;
	JsonbContainer *context = NULL;
	Jsonb		   *ours;

	initStringInfo(&known);
	appendStringInfoChar(&known, '{');
	append_figures(&known, writes_last_minute);
	if (smem_guc_pii_filter == SMEM_PII_DENY)
		appendStringInfoString(&known, ",\"pii_filter\":\"deny\"");
	appendStringInfoChar(&known, '}');
	ours = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(known.data)));
	if (smem_jsonb_member(input, "context", &value) != NULL)
		context = smem_jsonb_object(&value);
	return context == NULL ? ours
						   : smem_jsonb_merge(make_jsonb(context, value.val.binary.len), ours);
}

SmemStr
smem_input_of_caller(Jsonb *input, bool is_write, uint32_t writes_last_minute)
{
	StringInfoData out;

	initStringInfo(&out);
	if (is_write)
	{
		StringInfoData wrapped;
		Jsonb		  *context = make_context(&input->root, writes_last_minute);

		initStringInfo(&wrapped);
		appendStringInfoString(&wrapped, "{\"context\":");
		(void) JsonbToCString(&wrapped, &context->root, VARSIZE(context));
		appendStringInfoChar(&wrapped, '}');
		input = smem_jsonb_merge(
			input, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(wrapped.data))));
	}
	(void) JsonbToCString(&out, &input->root, VARSIZE(input));
	return to_utf8(&out);
}
