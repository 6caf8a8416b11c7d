/*
 * The JSON reader.
 *
 * Claims: a walk over accepted text stays inside it and meets values that are
 * accepted alone; a string is UTF-8 and equals what it stands for; the escape of that is
 * accepted again, and stands for the same.
 */
#include "core/json.h"

#include "core/encode.h"
#include "fuzz.h"

static void walk_value(SmemStr value, int depth);

static void
check_string(SmemStr value)
{
	SmemBuf text;
	SmemBuf again;
	SmemStr meant;
	SmemStr span;
	SmemStr checked;

	smem_buf_init(&text, SMEM_FRAME_MAX);
	smem_buf_init(&again, SMEM_FRAME_MAX);
	smem_json_unescape(&text, value);
	FUZZ_CLAIM(smem_buf_len(&text) <= value.len * 2);
	meant.data = smem_buf_text(&text);
	meant.len = smem_buf_len(&text);
	FUZZ_CLAIM(is_utf8(value) && is_utf8(meant));
	FUZZ_CLAIM(smem_json_equals(value, meant));
	smem_encode_json(&again, meant);
	span.data = smem_buf_head(&again);
	span.len = smem_buf_len(&again);
	FUZZ_CLAIM(smem_json_check(span, &checked) && checked.len == span.len);
	FUZZ_CLAIM(smem_json_is_string(checked) && smem_json_equals(checked, meant));
	smem_buf_free(&text);
	smem_buf_free(&again);
}

static void
walk_object(SmemStr value, int depth)
{
	SmemJsonWalk walk;
	SmemStr		 name;
	SmemStr		 member;

	FUZZ_CLAIM(smem_json_object(value, &walk));
	while (smem_json_member(&walk, &name, &member))
	{
		FUZZ_CLAIM(is_within(name, value) && is_within(member, value));
		FUZZ_CLAIM(smem_json_is_string(name));
		check_string(name);
		walk_value(member, depth + 1);
	}
	FUZZ_CLAIM(walk.at <= walk.end);
}

static void
walk_array(SmemStr value, int depth)
{
	SmemJsonWalk walk;
	SmemStr		 element;

	FUZZ_CLAIM(smem_json_array(value, &walk));
	while (smem_json_element(&walk, &element))
	{
		FUZZ_CLAIM(is_within(element, value));
		walk_value(element, depth + 1);
	}
	FUZZ_CLAIM(walk.at <= walk.end);
}

static void
walk_value(SmemStr value, int depth)
{
	SmemStr checked;

	FUZZ_CLAIM(depth <= SMEM_JSON_DEPTH && value.len > 0);
	FUZZ_CLAIM(smem_json_check(value, &checked));
	FUZZ_CLAIM(checked.data == value.data && checked.len == value.len);
	(void) smem_json_storable(value);
	if (value.data[0] == '{')
		walk_object(value, depth);
	else if (value.data[0] == '[')
		walk_array(value, depth);
	else if (smem_json_is_string(value))
		check_string(value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input	in = {data, size};
	SmemStr text = copy_rest(&in);
	SmemStr value;

	if (smem_json_check(text, &value))
	{
		FUZZ_CLAIM(is_within(value, text));
		walk_value(value, 0);
	}
	free((char *) text.data);
	return 0;
}
