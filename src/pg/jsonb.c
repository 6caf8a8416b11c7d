#include "postgres.h"

#include "pg/jsonb.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

JsonbValue *
smem_jsonb_member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer(object, name, strlen(name), value) == NULL)
		return NULL;
	return value->type == jbvNull ? NULL : value;
}

JsonbContainer *
smem_jsonb_object(const JsonbValue *value)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

SmemStr
smem_jsonb_string(const JsonbValue *value)
{
	SmemStr		s = {value->val.string.val, (size_t) value->val.string.len};

	Assert(value->type == jbvString);
	return s;
}

/*
 * Whether some number in the text may end in zeros behind its point; a string
 * that only looks so counts too.  Spares nearly every payload the walk below.
 */
static bool
may_have_trailing_zeros(SmemStr text)
{
	const char *end = text.data + text.len;
	const char *at = text.data;

	while ((at = memchr(at, '.', end - at)) != NULL)
	{
		while (++at < end && *at >= '0' && *at <= '9')
			;
		if (at[-1] == '0')
			return true;
	}
	return false;
}

static bool
has_trailing_zeros(Numeric number)
{
	int32		scale = DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number)));

	return scale > 0 &&
		DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) < scale;
}

static bool
any_trailing_zeros(JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue	value;
	JsonbIteratorToken token;
	bool		found = false;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvNumeric)
			found |= has_trailing_zeros(value.val.numeric);
	}
	return found;
}

SmemStr
smem_jsonb_equal_text(JsonbContainer *container, SmemStr text)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbValue	value;
	JsonbValue *whole = NULL;
	JsonbIteratorToken token;
	StringInfoData trimmed;
	Jsonb	   *copy;

	if (!may_have_trailing_zeros(text) || !any_trailing_zeros(container))
		return text;
	it = JsonbIteratorInit(container);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool		is_leaf = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		if (is_leaf && value.type == jbvNumeric)
			value.val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
																	NumericGetDatum(value.val.numeric)));
		whole = pushJsonbValue(&state, token, is_leaf ? &value : NULL);
	}
	copy = JsonbValueToJsonb(whole);
	initStringInfo(&trimmed);
	(void) JsonbToCString(&trimmed, &copy->root, VARSIZE(copy));
	return (SmemStr){trimmed.data, (size_t) trimmed.len};
}
