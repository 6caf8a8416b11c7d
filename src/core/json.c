#include "core/json.h"

#include "core/encode.h"

#include <string.h>

typedef struct SmemScan
{
	const unsigned char *at;
	const unsigned char *end;
} SmemScan;

static bool check_value(SmemScan *scan, int depth);

static void
skip_space(SmemScan *scan)
{
	while (scan->at < scan->end &&
		   (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
}

static bool
take_char(SmemScan *scan, unsigned char c)
{
	if (scan->at == scan->end || *scan->at != c)
		return false;
	scan->at++;
	return true;
}

static bool
take_literal(SmemScan *scan, const char *text)
{
	size_t n = strlen(text);

	if ((size_t) (scan->end - scan->at) < n || memcmp(scan->at, text, n) != 0)
		return false;
	scan->at += n;
	return true;
}

static bool
take_digits(SmemScan *scan)
{
	const unsigned char *from = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		scan->at++;
	return scan->at > from;
}

static bool
check_number(SmemScan *scan)
{
	take_char(scan, '-');
	if (!take_char(scan, '0') && !take_digits(scan))
		return false;
	if (take_char(scan, '.') && !take_digits(scan))
		return false;
	if (take_char(scan, 'e') || take_char(scan, 'E'))
	{
		if (!take_char(scan, '+'))
			take_char(scan, '-');
		return take_digits(scan);
	}
	return true;
}

static bool
take_hex(SmemScan *scan)
{
	unsigned char c = scan->at < scan->end ? *scan->at : 0;

	if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')))
		return false;
	scan->at++;
	return true;
}

static bool
check_escape(SmemScan *scan)
{
	if (scan->at == scan->end)
		return false;
	if (*scan->at == 'u')
	{
		scan->at++;
		return take_hex(scan) && take_hex(scan) && take_hex(scan) && take_hex(scan);
	}
	return *scan->at != '\0' && strchr("\"\\/bfnrt", *scan->at++) != NULL;
}

static bool
check_utf8(SmemScan *scan)
{
	size_t n = smem_utf8_length((const char *) scan->at, (size_t) (scan->end - scan->at));

	scan->at += n;
	return n > 0;
}

/* The opening quote is taken already. */
static bool
check_string(SmemScan *scan)
{
	while (scan->at < scan->end)
	{
		unsigned char c = *scan->at;

		if (c == '"')
		{
			scan->at++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c >= 0x80)
		{
			if (!check_utf8(scan))
				return false;
			continue;
		}
		scan->at++;
		if (c == '\\' && !check_escape(scan))
			return false;
	}
	return false;
}

/* The opening bracket is taken already. */
static bool
check_array(SmemScan *scan, int depth)
{
	skip_space(scan);
	if (take_char(scan, ']'))
		return true;
	do
	{
		if (!check_value(scan, depth))
			return false;
	} while (take_char(scan, ','));
	return take_char(scan, ']');
}

/* The opening brace is taken already. */
static bool
check_object(SmemScan *scan, int depth)
{
	skip_space(scan);
	if (take_char(scan, '}'))
		return true;
	do
	{
		skip_space(scan);
		if (!take_char(scan, '"') || !check_string(scan))
			return false;
		skip_space(scan);
		if (!take_char(scan, ':') || !check_value(scan, depth))
			return false;
	} while (take_char(scan, ','));
	return take_char(scan, '}');
}

/* A value and the space around it. */
static bool
check_value(SmemScan *scan, int depth)
{
	bool ok;

	skip_space(scan);
	if (scan->at == scan->end || depth >= SMEM_JSON_DEPTH)
		return false;
	switch (*scan->at)
	{
		case '{':
			scan->at++;
			ok = check_object(scan, depth + 1);
			break;
		case '[':
			scan->at++;
			ok = check_array(scan, depth + 1);
			break;
		case '"':
			scan->at++;
			ok = check_string(scan);
			break;
		case 't':
			ok = take_literal(scan, "true");
			break;
		case 'f':
			ok = take_literal(scan, "false");
			break;
		case 'n':
			ok = take_literal(scan, "null");
			break;
		default:
			ok = check_number(scan);
	}
	skip_space(scan);
	return ok;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool
smem_json_check(SmemStr text, SmemStr *value)
{
	SmemScan scan = {(const unsigned char *) text.data, NULL};

	if (text.data == NULL)
		return false;
	scan.end = scan.at + text.len;
	if (!check_value(&scan, 0) || scan.at != scan.end)
		return false;
	while (is_space(text.data[0]))
	{
		text.data++;
		text.len--;
	}
	while (is_space(text.data[text.len - 1]))
		text.len--;
	*value = text;
	return true;
}
