#include "postgres.h"

#include "pg/jsonb.h"

#include "miscadmin.h"
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
	SmemStr s = {value->val.string.val, (size_t) value->val.string.len};

	Assert(value->type == jbvString);
	return s;
}

/* Most bytes of a string's byte in the text: \u001f. */
#define MAX_ESCAPE 6

static void
survey_number(Numeric number, SmemJsonbSurvey *survey)
{
	char  *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	size_t n = strlen(text);

	survey->max_text += n;
	if (text[n - 1] == '0' && strchr(text, '.') != NULL)
		survey->padded_numbers = true;
	pfree(text);
}

/* Goes through the entries as they lie there: strings, most of a payload, are passed over. */
void
smem_jsonb_survey(JsonbContainer *container, SmemJsonbSurvey *survey)
{
	int	   n = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	char  *data = (char *) &container->children[n];
	uint32 offset = 0;

	check_stack_depth();

	/* Brackets, and behind each entry a comma or a colon and a space. */
	survey->max_text += 2 + 2 * (Size) n;
	for (int i = 0; i < n; i++)
	{
		JEntry entry = container->children[i];
		char  *value = data + INTALIGN(offset);
		uint32 start = offset;

		JBE_ADVANCE_OFFSET(offset, entry);
		if (JBE_ISSTRING(entry))
			survey->max_text += 2 + MAX_ESCAPE * (Size) (offset - start);
		else if (JBE_ISNUMERIC(entry))
			survey_number((Numeric) value, survey);
		else if (JBE_ISCONTAINER(entry))
			smem_jsonb_survey((JsonbContainer *) value, survey);
		else
			survey->max_text += strlen("false");
	}
}

Jsonb *
smem_jsonb_trim_numbers(JsonbContainer *container)
{
	JsonbParseState	  *state = NULL;
	JsonbIterator	  *it = JsonbIteratorInit(container);
	JsonbValue		   value;
	JsonbValue		  *whole = NULL;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool is_leaf = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		if (is_leaf && value.type == jbvNumeric)
			value.val.numeric = DatumGetNumeric(
				DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value.val.numeric)));
		whole = pushJsonbValue(&state, token, is_leaf ? &value : NULL);
	}
	return JsonbValueToJsonb(whole);
}
