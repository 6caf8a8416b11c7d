#include "core/pii.h"

#include <string.h>

/* Digits of a number that begins with +. */
#define SMEM_PII_DIGITS_MIN 8
#define SMEM_PII_DIGITS_MAX 15

/* Separators in a row, at most. */
#define SMEM_PII_SEPARATORS 3

typedef struct SmemSpan
{
	const unsigned char *from;
	const unsigned char *to; /* one past the last byte */
} SmemSpan;

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(unsigned char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool
is_separator(unsigned char c)
{
	return c == ' ' || c == '.' || c == '-' || c == '(' || c == ')';
}

/* The last character of an address's local part; dots stand between such. */
static bool
is_local(unsigned char c)
{
	return is_letter(c) || is_digit(c) || (c != '\0' && strchr("!#$%&'*+/=?^_`{|}~-", c) != NULL);
}

/* Beyond ASCII: what domains are not written with. */
static bool
is_domain_code(uint32_t code)
{
	static const uint32_t not_in[][2] = {
		{0xD7, 0xD7},	  {0xF7, 0xF7},		{0x2000, 0x2BFF}, {0x3000, 0x303F},	  {0xFE00, 0xFE4F},
		{0xFF00, 0xFF0F}, {0xFF1A, 0xFF20}, {0xFFFD, 0xFFFD}, {0x1F000, 0x1FAFF},
	};

	if (code < 0xC0)
		return false;
	for (size_t i = 0; i < sizeof(not_in) / sizeof(not_in[0]); i++)
	{
		if (code >= not_in[i][0] && code <= not_in[i][1])
			return false;
	}
	return true;
}

/* The length of a domain's letter, or digit where those count; 0 where there is none. */
static size_t
domain_char(const unsigned char *p, const unsigned char *end, bool digits)
{
	uint32_t code;
	size_t	 n;

	if (p == end)
		return 0;
	if (*p < 0x80)
		return is_letter(*p) || (digits && is_digit(*p)) ? 1 : 0;
	n = *p < 0xC0 ? 0 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
	if (n == 0 || (size_t) (end - p) < n)
		return 0;
	code = *p & (0x7Fu >> n);
	for (size_t i = 1; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3F);
	}
	return is_domain_code(code) ? n : 0;
}

/* Whether two letters stand here, which is enough of a top-level domain. */
static bool
has_top_level(const unsigned char *p, const unsigned char *end)
{
	size_t n = domain_char(p, end, false);

	return n > 0 && domain_char(p + n, end, false) > 0;
}

/* The dot behind the label that begins here; NULL where there is no label, or no dot. */
static const unsigned char *
find_dot(const unsigned char *p, const unsigned char *end)
{
	bool ends_well = false;

	if (p == end || *p == '-')
		return NULL;
	for (;;)
	{
		size_t n = domain_char(p, end, true);

		if (n == 0 && p < end && *p == '-')
			n = 1;
		if (n == 0)
			return ends_well && p < end && *p == '.' ? p : NULL;
		ends_well = *p != '-';
		p += n;
	}
}

/* Whether the text from here begins with a domain. */
static bool
is_domain(const unsigned char *p, const unsigned char *end)
{
	do
	{
		p = find_dot(p, end);
		if (p == NULL)
			return false;
		p++;
	} while (!has_top_level(p, end));
	return true;
}

/* The next @ that makes an address; NULL where there is none. */
static const unsigned char *
find_address(const unsigned char *from, const unsigned char *end)
{
	const unsigned char *p = from;

	while (p < end && (p = memchr(p, '@', (size_t) (end - p))) != NULL)
	{
		if (p > from && is_local(p[-1]) && is_domain(p + 1, end))
			return p;
		p++;
	}
	return NULL;
}

/* All of an address around its @: nothing that touches it may be left to make another. */
static SmemSpan
address_span(const unsigned char *from, const unsigned char *at, const unsigned char *end)
{
	SmemSpan span = {at, at};

	while (span.from > from &&
		   (is_local(span.from[-1]) || span.from[-1] == '.' || span.from[-1] >= 0x80))
		span.from--;
	do
	{
		size_t n = 1;

		for (span.to++; n > 0; span.to += n)
		{
			n = domain_char(span.to, end, true);
			if (n == 0 && span.to < end && (*span.to == '.' || *span.to == '-'))
				n = 1;
		}
	} while (span.to < end && *span.to == '@' && is_domain(span.to + 1, end));
	while (span.to[-1] == '.' || span.to[-1] == '-')
		span.to--;
	return span;
}

/* The first digit, eight bytes at a time; end where there is none. */
static const unsigned char *
find_digit(const unsigned char *p, const unsigned char *end)
{
	const uint64_t high = UINT64_C(0x8080808080808080);

	for (; end - p >= 8; p += 8)
	{
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		/* '0' to '9' become 0 to 9, the only ones that 0x76 does not carry to the high bit. */
		word ^= UINT64_C(0x3030303030303030);
		if (((((word & ~high) + UINT64_C(0x7676767676767676)) | word) & high) != high)
			break;
	}
	while (p < end && !is_digit(*p))
		p++;
	return p;
}

static const unsigned char *
after_digits(const unsigned char *p, const unsigned char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

/* The digit behind separators, at least min of them and not too many; NULL where there is none. */
static const unsigned char *
next_group(const unsigned char *p, const unsigned char *end, int min)
{
	int n = 0;

	while (p < end && n < SMEM_PII_SEPARATORS && is_separator(*p))
	{
		p++;
		n++;
	}
	return n >= min && p < end && is_digit(*p) ? p : NULL;
}

/* The + that the first digit of a run belongs to; NULL where there is none. */
static const unsigned char *
find_plus(const unsigned char *from, const unsigned char *digit)
{
	const unsigned char *p = digit;

	while (p > from && digit - p < SMEM_PII_SEPARATORS && is_separator(p[-1]))
		p--;
	return p > from && p[-1] == '+' ? p - 1 : NULL;
}

/* The end of the run that has this first digit; *digits is how many it has. */
static const unsigned char *
after_run(const unsigned char *p, const unsigned char *end, size_t *digits)
{
	const unsigned char *next = p;

	*digits = 0;
	while (next != NULL)
	{
		p = after_digits(next, end);
		*digits += (size_t) (p - next);
		next = next_group(p, end, 1);
	}
	return p;
}

/* Whether three digits may begin a number here; *first is where the number then begins. */
static bool
begins_well(const unsigned char *from, const unsigned char *p, const unsigned char **first)
{
	*first = p;
	if (p == from || !(p[-1] == '.' || p[-1] == '-'))
	{
		if (p > from && p[-1] == '(')
			*first = p - 1;
		return true;
	}
	if (p - 1 == from || !is_digit(p[-2]))
		return true;
	if (p[-2] != '1')
		return false;
	if (p - 2 > from && (is_digit(p[-3]) || p[-3] == '.' || p[-3] == '-'))
		return false;
	*first = p - 2;
	return true;
}

static bool
ends_well(const unsigned char *p, const unsigned char *end)
{
	if (p == end || !(is_digit(*p) || *p == '.' || *p == '-'))
		return true;
	return !is_digit(*p) && (p + 1 == end || !is_digit(p[1]));
}

/* The end of the groups of 3, 3 and 4 digits that begin here; NULL where they do not. */
static const unsigned char *
after_groups(const unsigned char *p, const unsigned char *end)
{
	static const int sizes[] = {3, 3, 4};

	for (int i = 0; i < 3; i++)
	{
		const unsigned char *group = i == 0 ? p : next_group(p, end, 1);

		if (group == NULL)
			return NULL;
		p = after_digits(group, end);
		if (p - group != sizes[i])
			return NULL;
	}
	return ends_well(p, end) ? p : NULL;
}

/* The next telephone number; false where there is none. */
static bool
find_telephone(const unsigned char *from, const unsigned char *end, SmemSpan *span)
{
	const unsigned char *p = from;

	while ((p = find_digit(p, end)) < end)
	{
		size_t digits;

		span->from = find_plus(from, p);
		if (span->from != NULL)
		{
			span->to = after_run(p, end, &digits);
			if (digits >= SMEM_PII_DIGITS_MIN && digits <= SMEM_PII_DIGITS_MAX)
				return true;
			p = span->to;
			continue;
		}
		span->to = after_groups(p, end);
		if (span->to != NULL && begins_well(from, p, &span->from))
			return true;
		p = after_digits(p, end);
	}
	return false;
}

static void
append_span(SmemBuf *out, const unsigned char *from, const unsigned char *to)
{
	smem_buf_append(out, from, (size_t) (to - from));
}

static void
mask_addresses(SmemStr text, SmemBuf *out)
{
	const unsigned char *from = (const unsigned char *) text.data;
	const unsigned char *end = from + text.len;
	const unsigned char *at;

	while ((at = find_address(from, end)) != NULL)
	{
		SmemSpan span = address_span(from, at, end);

		append_span(out, from, span.from);
		smem_buf_puts(out, "[e-mail]");
		from = span.to;
	}
	append_span(out, from, end);
}

static void
mask_telephones(SmemStr text, SmemBuf *out)
{
	const unsigned char *from = (const unsigned char *) text.data;
	const unsigned char *end = from + text.len;
	SmemSpan			 span;

	while (find_telephone(from, end, &span))
	{
		append_span(out, from, span.from);
		smem_buf_puts(out, "[telephone]");
		from = span.to;
	}
	append_span(out, from, end);
}

bool
smem_pii_found(SmemStr text)
{
	const unsigned char *from = (const unsigned char *) text.data;
	SmemSpan			 span;

	if (text.len == 0)
		return false;
	return find_address(from, from + text.len) != NULL ||
		   find_telephone(from, from + text.len, &span);
}

/* Addresses first: where one takes digits away, a run may become a number, never the other way. */
bool
smem_pii_mask(SmemStr text, SmemBuf *out)
{
	SmemBuf between;
	SmemStr rest;

	if (!smem_pii_found(text))
		return false;
	smem_buf_init(&between, out->max);
	mask_addresses(text, &between);
	if (between.failed)
		out->failed = true;
	else
	{
		rest.data = smem_buf_head(&between);
		rest.len = smem_buf_len(&between);
		mask_telephones(rest, out);
	}
	smem_buf_free(&between);
	return true;
}
