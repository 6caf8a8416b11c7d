/*
 * Walks JSON text that smem_json_check accepted: nothing here looks for an end
 * that grammar promises.
 */
#include "core/json.h"

#include <string.h>

/* Digits of a number, and size of its exponent, that jsonb takes for certain. */
#define SMEM_JSON_DIGITS 1000
#define SMEM_JSON_EXPONENT 1000

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static int
hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX; -1 when they are none. */
static int32_t
read_hex4(const unsigned char *p, const unsigned char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int digit = hex_value(p[i]);

		if (digit < 0)
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

static const char *
after_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* p stands behind the opening quote. */
static const char *
after_string(const char *p)
{
	for (;;)
	{
		if (*p == '\\')
			p++;
		else if (*p == '"')
			return p + 1;
		p++;
	}
}

static const char *
after_value(const char *p, const char *end)
{
	int depth = 0;

	if (*p == '"')
		return after_string(p + 1);
	if (*p != '{' && *p != '[')
	{
		while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_space(*p))
			p++;
		return p;
	}
	do
	{
		char c = *p++;

		if (c == '"')
			p = after_string(p);
		else if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
	} while (depth > 0);
	return p;
}

static bool
begin_walk(SmemStr value, SmemJsonWalk *walk, char open)
{
	if (value.len < 2 || value.data[0] != open)
		return false;
	walk->at = value.data + 1;
	walk->end = value.data + value.len;
	return true;
}

bool
smem_json_object(SmemStr value, SmemJsonWalk *walk)
{
	return begin_walk(value, walk, '{');
}

bool
smem_json_array(SmemStr value, SmemJsonWalk *walk)
{
	return begin_walk(value, walk, '[');
}

bool
smem_json_element(SmemJsonWalk *walk, SmemStr *value)
{
	const char *p = after_space(walk->at, walk->end);

	if (*p == ',')
		p = after_space(p + 1, walk->end);
	if (*p == ']' || *p == '}')
		return false;
	value->data = p;
	walk->at = after_value(p, walk->end);
	value->len = (size_t) (walk->at - p);
	return true;
}

bool
smem_json_member(SmemJsonWalk *walk, SmemStr *name, SmemStr *value)
{
	if (!smem_json_element(walk, name))
		return false;
	/* Behind the name stands the colon, with or without space. */
	walk->at = after_space(walk->at, walk->end) + 1;
	return smem_json_element(walk, value);
}

bool
smem_json_is_string(SmemStr value)
{
	return value.len >= 2 && value.data[0] == '"';
}

bool
smem_json_is(SmemStr value, const char *literal)
{
	return value.len == strlen(literal) && memcmp(value.data, literal, value.len) == 0;
}

static size_t
encode_utf8(uint32_t c, char *out)
{
	if (c < 0x80)
	{
		out[0] = (char) c;
		return 1;
	}
	if (c < 0x800)
	{
		out[0] = (char) (0xC0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000)
	{
		out[0] = (char) (0xE0 | c >> 12);
		out[1] = (char) (0x80 | (c >> 6 & 0x3F));
		out[2] = (char) (0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | c >> 18);
	out[1] = (char) (0x80 | (c >> 12 & 0x3F));
	out[2] = (char) (0x80 | (c >> 6 & 0x3F));
	out[3] = (char) (0x80 | (c & 0x3F));
	return 4;
}

/*
 * Reads \uXXXX, or the pair of them that stands for one character; p stands
 * behind the u and is moved behind what was read.
 */
static uint32_t
read_unicode(const char **p, const char *end)
{
	const unsigned char *at = (const unsigned char *) *p;
	const unsigned char *stop = (const unsigned char *) end;
	int32_t				 high = read_hex4(at, stop);
	int32_t				 low;

	*p += 4;
	if (high < 0xD800 || high > 0xDFFF)
		return (uint32_t) high;
	if (high > 0xDBFF || stop - at < 10 || at[4] != '\\' || at[5] != 'u')
		return 0xFFFD;
	low = read_hex4(at + 6, stop);
	if (low < 0xDC00 || low > 0xDFFF)
		return 0xFFFD;
	*p += 6;
	return 0x10000 + ((uint32_t) (high - 0xD800) << 10) + (uint32_t) (low - 0xDC00);
}

/* Reads what follows a backslash; p is moved behind it.  Returns how many bytes out got. */
static size_t
read_escape(const char **p, const char *end, char *out)
{
	char c = *(*p)++;

	switch (c)
	{
		case 'u':
			return encode_utf8(read_unicode(p, end), out);
		case 'b':
			c = '\b';
			break;
		case 'f':
			c = '\f';
			break;
		case 'n':
			c = '\n';
			break;
		case 'r':
			c = '\r';
			break;
		case 't':
			c = '\t';
			break;
		default:
			break;
	}
	out[0] = c;
	return 1;
}

bool
smem_json_equals(SmemStr value, SmemStr text)
{
	const char *p = value.data + 1;
	const char *end = value.data + value.len - 1;
	size_t		at = 0;

	if (!smem_json_is_string(value))
		return false;
	if (memchr(p, '\\', (size_t) (end - p)) == NULL)
		return (size_t) (end - p) == text.len && memcmp(p, text.data, text.len) == 0;
	while (p < end)
	{
		char   one[4];
		size_t n = 1;

		if (*p == '\\')
		{
			p++;
			n = read_escape(&p, end, one);
		}
		else
			one[0] = *p++;
		if (text.len - at < n || memcmp(text.data + at, one, n) != 0)
			return false;
		at += n;
	}
	return at == text.len;
}

void
smem_json_unescape(SmemBuf *buf, SmemStr value)
{
	const char *p = value.data + 1;
	const char *end = value.data + value.len - 1;

	while (p < end)
	{
		const char *from = p;
		char		one[4];
		size_t		n;

		while (p < end && *p != '\\')
			p++;
		smem_buf_append(buf, from, (size_t) (p - from));
		if (p == end)
			break;
		p++;
		n = read_escape(&p, end, one);
		smem_buf_append(buf, one, n);
	}
}

/* p stands behind the opening quote; it is moved behind the string. */
static bool
is_storable_string(const char **p, const char *end)
{
	while (**p != '"')
	{
		char one[4];
		char c = *(*p)++;

		if (c != '\\')
			continue;
		if (**p == 'u')
		{
			size_t n = read_escape(p, end, one);

			/* U+FFFD is what half a pair reads as; where it is really meant, little is lost. */
			if ((n == 1 && one[0] == '\0') || (n == 3 && memcmp(one, "\xEF\xBF\xBD", 3) == 0))
				return false;
		}
		else
			(*p)++;
	}
	(*p)++;
	return true;
}

static bool
is_storable_number(const char *p, const char *end)
{
	const char *from = p;
	long		exponent = 0;

	while (p < end && *p != 'e' && *p != 'E')
		p++;
	if (p - from > SMEM_JSON_DIGITS)
		return false;
	for (; p < end; p++)
	{
		if (*p >= '0' && *p <= '9' && exponent <= SMEM_JSON_EXPONENT)
			exponent = exponent * 10 + (*p - '0');
	}
	return exponent <= SMEM_JSON_EXPONENT;
}

bool
smem_json_storable(SmemStr value)
{
	const char *p = value.data;
	const char *end = value.data + value.len;

	while (p < end)
	{
		if (*p == '"')
		{
			p++;
			if (!is_storable_string(&p, end))
				return false;
		}
		else if (*p == '-' || (*p >= '0' && *p <= '9'))
		{
			const char *from = p;

			p = after_value(p, end);
			if (!is_storable_number(from, p))
				return false;
		}
		else
			p++;
	}
	return true;
}
