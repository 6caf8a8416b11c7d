#include "extent.h"

#include <string.h>

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *
skip_space(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

static const char *
skip_string(const char *at, const char *end)
{
	for (at++; at < end; at++)
	{
		if (*at == '\\')
			at++;
		else if (*at == '"')
			return at + 1;
	}
	return end;
}

static const char *
skip_nested(const char *at, const char *end)
{
	int depth = 0;

	while (at < end)
	{
		switch (*at)
		{
			case '"':
				at = skip_string(at, end);
				continue;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				if (--depth == 0)
					return at + 1;
				break;
			default:
				break;
		}
		at++;
	}
	return end;
}

static const char *
skip_value(const char *at, const char *end)
{
	if (at < end && *at == '"')
		return skip_string(at, end);
	if (at < end && (*at == '{' || *at == '['))
		return skip_nested(at, end);
	while (at < end && !is_space(*at) && *at != ',' && *at != '}' && *at != ']')
		at++;
	return at;
}

SmemSlice
smem_extent_member(SmemSlice object, const char *name)
{
	const char *at = object.data;
	const char *end = object.data + object.len;
	size_t		name_len = strlen(name);
	SmemSlice	found = {NULL, 0};

	at = skip_space(at, end);
	if (at == end || *at != '{')
		return found;
	at = skip_space(at + 1, end);
	while (at < end && *at == '"')
	{
		const char *label = at + 1;
		const char *value;

		at = skip_string(at, end);
		value = skip_space(skip_space(at, end) + 1, end);
		if ((size_t) (at - label) == name_len + 1 && memcmp(label, name, name_len) == 0)
		{
			found.data = value;
			found.len = (size_t) (skip_value(value, end) - value);
			at = value + found.len;
		}
		else
			at = skip_value(value, end);
		at = skip_space(at, end);
		if (at < end && *at == ',')
			at = skip_space(at + 1, end);
	}
	return found;
}

SmemSlice
smem_extent_element(SmemSlice array, size_t *at)
{
	const char *end = array.data + array.len;
	const char *from = skip_space(array.data + *at, end);
	SmemSlice	found = {NULL, 0};

	if (from < end && (*from == '[' || *from == ','))
		from = skip_space(from + 1, end);
	if (from >= end || *from == ']')
		return found;
	found.data = from;
	found.len = (size_t) (skip_value(from, end) - from);
	*at = (size_t) (found.data + found.len - array.data);
	return found;
}
