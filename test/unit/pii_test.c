/*
 * What is found as an e-mail address or a telephone number, what is not, and
 * that masks leave nothing: by a table, and by random texts against the
 * regular expressions that stand in the Rego package.
 */
#include <regex.h>
#include <stdlib.h>

#include "core/pii.h"
#include "tap.h"

#define SEP "[ .()-]"
#define LETTER "A-Za-z\x02"
#define LABEL "[0-9" LETTER "]"

static uint64_t dice = 1;

static uint64_t
roll(uint64_t sides)
{
	dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (dice >> 33) % sides;
}

/* Looks in memory of exactly the text's size, so that a sanitizer sees a step too far. */
static bool
found(const char *text, size_t len)
{
	char   *copy = malloc(len ? len : 1);
	SmemStr s = {copy, len};
	bool	yes;

	memcpy(copy, text, len);
	yes = smem_pii_found(s);
	free(copy);
	return yes;
}

static void
check_found(void)
{
	static const char *const texts[] = {
		"a@b.cc",
		"write to jane.doe+tag@mail.example.co.uk today",
		"<o'hara@example.com>",
		"a@b-c.dd",
		"a@1.de",
		"x@\xC3\xBC"
		"ber.de",
		"x@b.\xE4\xBD\xA0\xE5\xA5\xBD",
		"a@@b.cc@d.ee",
		"a@b.cc9",
		"_@b.cc",
		"a@b.c.dd",
		"+4915112345678",
		"+49 (0)151 - 1234.5678",
		"+1-555-123-4567",
		"tel:+12345678",
		"+ (123) 456-78",
		"+123456789012345",
		"(555) 123-4567",
		"555-123-4567",
		"555.123.4567.",
		"555 123 4567",
		"1-555-123-4567",
		"-555-123-4567-",
		"call 1.555.123.4567 now",
		"(555)123-4567",
		"x555-123-4567x",
		"\xC3\xA9"
		"555-123-4567\xC3\xA9",
		"(555)-(123)-(4567)",
		"++12345678",
		"12+12345678",
		"+1    555-123-4567",
		"+1234567890123456 12    (555) 123 4567",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		tap_ok(found(texts[i], strlen(texts[i])), "found: %s", texts[i]);
}

static void
check_not_found(void)
{
	static const char *const texts[] = {
		"",
		"nothing at all",
		"a@b",
		"a@b.c",
		"@b.cc",
		"a @b.cc",
		".@b.cc",
		"a@-b.cc",
		"a@b-.cc",
		"a@.cc",
		"a@b..cc",
		"a@b.1c",
		"a@b.99",
		"a@b_c.cc",
		"a\xC3\xA9@b.cc",
		"a@\xC3\x97.cc",
		"a@b.\xE2\x82\xAC\xE2\x82\xAC",
		"a@b\xEF\xBC\x8E"
		"cc",
		"a@\xF0\x9F\x98\x80.cc",
		"a@b.c\xEF\xBC\xA0",
		"@",
		"a@",
		"+1234567",
		"+1234567890123456",
		"+1234567890123456 555-123-4567",
		"+-.",
		"5551234567",
		"555-123-45678",
		"5555-123-4567",
		"2-555-123-4567",
		"21-555-123-4567",
		"1-1-555-123-4567",
		"555-123-4567-8",
		"555.123.4567.8",
		"2024-01-02T03:04:05+02:00",
		"2024-01-02 03:04:05 +0200",
		"192.168.123.4567",
		"123-45-6789",
		"4111 1111 1111 1111",
		"550e8400-e29b-41d4-a716-446655440000",
		"555    123 4567",
		"555-123--- -4567",
		"555\n123\n4567",
		"\xEF\xBC\x95\xEF\xBC\x95\xEF\xBC\x95-123-4567",
		"1,234,567.89",
		"v1.555.123",
		"+\xD9\xA1\xD9\xA2\xD9\xA3\xD9\xA4\xD9\xA5\xD9\xA6\xD9\xA7\xD9\xA8",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		tap_ok(!found(texts[i], strlen(texts[i])), "not found: %s", texts[i]);
	tap_ok(found("\0+12345678", 10), "a NUL ends nothing");
	tap_ok(!found("a@b.c\xC3", 6), "half a character is none");
}

static void
check_mask(void)
{
	static const struct
	{
		const char *text;
		const char *want;
	} cases[] = {
		{"jane.doe@mail.example.com!", "[e-mail]!"},
		{"(a@b.cc)", "([e-mail])"},
		{"mail a@b.cc.", "mail [e-mail]."},
		{"a@b.cc, d@e.ff; +12345678", "[e-mail], [e-mail]; [telephone]"},
		{"j\xC3\xB6rg@b.cc", "[e-mail]"},
		{"a@b.cc@d.ee x", "[e-mail] x"},
		{"a@b.cc.9-", "[e-mail]-"},
		{"call +49 151 1234567 (home)", "call [telephone] (home)"},
		{"call (555) 123-4567", "call [telephone]"},
		{"1-555-123-4567", "[telephone]"},
		{"x1.555.123.4567.", "x[telephone]."},
		{"555-123-4567 555-123-4567", "[telephone] [telephone]"},
		{"+1234567 555-123-4567", "+1234567 555-123-4567"},
		{"+123456789012 3456789@b.cc", "[telephone] [e-mail]"},
		{"555 123 4567@b.cc", "555 123 [e-mail]"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		SmemBuf out;
		bool	masked;

		smem_buf_init(&out, 1000);
		smem_buf_puts(&out, "|");
		masked = smem_pii_mask(smem_str(cases[i].text), &out);
		tap_is(smem_buf_text(&out) + 1, masked ? cases[i].want : "", cases[i].text);
		tap_ok(masked == (strcmp(cases[i].text, cases[i].want) != 0), "and says so");
		smem_buf_free(&out);
	}
}

static void
check_mask_without_room(void)
{
	SmemBuf out;

	smem_buf_init(&out, 8);
	tap_ok(smem_pii_mask(smem_str("nothing was lost, call +12345678"), &out) && out.failed,
		   "a mask that has no room says so");
	smem_buf_free(&out);
}

static const uint32_t excluded[][2] = {
	{0xD7, 0xD7},	  {0xF7, 0xF7},		{0x2000, 0x2BFF}, {0x3000, 0x303F},	  {0xFE00, 0xFE4F},
	{0xFF00, 0xFF0F}, {0xFF1A, 0xFF20}, {0xFFFD, 0xFFFD}, {0x1F000, 0x1FAFF},
};

static size_t
put_code(char *out, uint32_t code)
{
	if (code < 0x80)
		return (size_t) sprintf(out, "%c", (int) code);
	if (code < 0x800)
		return (size_t) sprintf(out, "%c%c", (int) (0xC0 | code >> 6), (int) (0x80 | (code & 63)));
	if (code < 0x10000)
		return (size_t) sprintf(out, "%c%c%c", (int) (0xE0 | code >> 12),
								(int) (0x80 | (code >> 6 & 63)), (int) (0x80 | (code & 63)));
	return (size_t) sprintf(out, "%c%c%c%c", (int) (0xF0 | code >> 18),
							(int) (0x80 | (code >> 12 & 63)), (int) (0x80 | (code >> 6 & 63)),
							(int) (0x80 | (code & 63)));
}

static bool
is_domain_code(uint32_t code)
{
	for (size_t i = 0; i < sizeof(excluded) / sizeof(excluded[0]); i++)
	{
		if (code >= excluded[i][0] && code <= excluded[i][1])
			return false;
	}
	return code >= 0xC0;
}

/* Every character, as a domain's and as a top-level domain. */
static void
check_characters(void)
{
	int wrong = 0;

	for (uint32_t code = 0x80; code <= 0x10FFFF; code++)
	{
		char   text[16] = "a@";
		size_t n = 2;

		if (code >= 0xD800 && code <= 0xDFFF)
			continue;
		n += put_code(text + n, code);
		strcpy(text + n, ".cc");
		wrong += smem_pii_found(smem_str(text)) != is_domain_code(code);
		strcpy(text, "a@b.");
		n = 4 + put_code(text + 4, code);
		put_code(text + n, code);
		wrong += smem_pii_found(smem_str(text)) != is_domain_code(code);
	}
	tap_is_int(wrong, 0, "every character beyond ASCII is a domain's or is none");
}

/* Numbers of every length, with and without separators. */
static void
check_run_lengths(void)
{
	int wrong = 0;

	for (int digits = 1; digits <= 20; digits++)
	{
		for (int separators = 0; separators <= 4; separators++)
		{
			char text[200] = "+";

			for (int i = 0; i < digits; i++)
				sprintf(text + strlen(text), "%.*s%d", separators, " .-(", i % 10);
			wrong +=
				smem_pii_found(smem_str(text)) != (separators <= 3 && digits >= 8 && digits <= 15);
		}
	}
	tap_is_int(wrong, 0, "8 to 15 digits behind +, with up to three separators before each");
}

/* Letters of domains beyond ASCII become one byte, all else beyond ASCII another. */
static void
simplify(const char *text, char *out)
{
	const unsigned char *p = (const unsigned char *) text;

	while (*p != 0)
	{
		int		 n = *p < 0x80 ? 1 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
		uint32_t code = n == 1 ? *p : *p & (0x7Fu >> n);

		for (int i = 1; i < n; i++)
			code = code << 6 | (p[i] & 63);
		*out++ = n == 1 ? (char) *p : is_domain_code(code) ? '\x02' : '\x01';
		p += n;
	}
	*out = '\0';
}

/* By regular expressions: as the Rego package does it. */
static bool
found_naively(const char *text)
{
	static regex_t address;
	static regex_t run;
	static regex_t groups;
	static bool	   ready;
	char		   simple[1000];
	regmatch_t	   match;

	if (!ready)
	{
		regcomp(&address,
				"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]@(" LABEL "([-0-9" LETTER "]*" LABEL
				")?[.])+[" LETTER "]{2,}",
				REG_EXTENDED | REG_NOSUB);
		regcomp(&run, "[+]" SEP "{0,3}[0-9](" SEP "{0,3}[0-9])*", REG_EXTENDED);
		regcomp(&groups,
				"(^|[^0-9.-]|^[.-]|[^0-9][.-]|(^|[^0-9.-])1[.-])[(]?[0-9]{3}" SEP
				"{1,3}[0-9]{3}" SEP "{1,3}[0-9]{4}($|[^0-9.-]|[.-]$|[.-][^0-9])",
				REG_EXTENDED | REG_NOSUB);
		ready = true;
	}
	simplify(text, simple);
	if (regexec(&address, simple, 0, NULL, 0) == 0)
		return true;
	while (regexec(&run, simple, 1, &match, 0) == 0)
	{
		int digits = 0;

		for (regoff_t i = match.rm_so; i < match.rm_eo; i++)
			digits += simple[i] >= '0' && simple[i] <= '9';
		if (digits >= 8 && digits <= 15)
			return true;
		simple[match.rm_so] = 'x';
		memmove(simple + match.rm_so + 1, simple + match.rm_eo, strlen(simple + match.rm_eo) + 1);
	}
	return regexec(&groups, simple, 0, NULL, 0) == 0;
}

static void
make_text(char *out, const char *const *pieces, size_t n_pieces)
{
	size_t n = 1 + roll(16);

	*out = '\0';
	while (n-- > 0)
		out = stpcpy(out, pieces[roll(n_pieces)]);
}

/* Whether the masked text is the text with masks in place of some of it. */
static bool
is_masked(const char *text, const char *masked)
{
	const char *mask = strchr(masked, '[');
	size_t		n;

	if (mask == NULL)
		return strcmp(text, masked) == 0;
	n = (size_t) (mask - masked);
	if (strncmp(text, masked, n) != 0 || strchr(mask, ']') == NULL)
		return false;
	masked = strchr(mask, ']') + 1;
	for (text += n; *text != '\0'; text++)
	{
		if (is_masked(text + 1, masked))
			return true;
	}
	return false;
}

static void
check_random(const char *title, const char *const *pieces, size_t n_pieces)
{
	int differs = 0;
	int hits = 0;
	int left = 0;

	for (int i = 0; i < 20000; i++)
	{
		char	text[500];
		SmemBuf out;
		bool	yes;

		make_text(text, pieces, n_pieces);
		yes = found(text, strlen(text));
		hits += yes;
		if (yes != found_naively(text) && differs++ < 5)
			printf("# %s: %s\n", yes ? "found" : "missed", text);
		smem_buf_init(&out, 10000);
		if (smem_pii_mask(smem_str(text), &out) != yes || (!yes && smem_buf_len(&out) > 0) ||
			(yes && (smem_pii_found(smem_str(smem_buf_text(&out))) ||
					 !is_masked(text, smem_buf_text(&out)))))
		{
			if (left++ < 5)
				printf("# %s\n# becomes %s\n", text, smem_buf_text(&out));
		}
		smem_buf_free(&out);
	}
	tap_ok(hits > 1000 && hits < 19000, "%s: %d of 20000 random texts have some", title, hits);
	tap_is_int(differs, 0, "the regular expressions find the same");
	tap_is_int(left, 0, "nothing is found in what was masked, and the rest is as it was");
}

/* Where a digit stands in a word of eight bytes, and what stands next to it. */
static void
check_alignment(void)
{
	int wrong = 0;

	for (size_t at = 0; at < 40; at++)
	{
		char text[64];

		for (int fill = 1; fill < 256; fill++)
		{
			if ((fill >= '0' && fill <= '9') || fill == '.' || fill == '-' || fill == '+')
				continue;
			memset(text, fill, sizeof(text));
			memcpy(text + at, "555-123-4567", 12);
			wrong += !found(text, at + 12) || !found(text, sizeof(text));
			memset(text, fill, sizeof(text));
			wrong += found(text, sizeof(text));
		}
	}
	tap_is_int(wrong, 0, "a number is found wherever it stands, next to any byte");
	for (int digit = 0; digit <= 9; digit++)
	{
		char text[64];

		memset(text, '0' + digit, sizeof(text));
		text[20] = 'x';
		text[24] = text[28] = '-';
		wrong += !found(text + 20, 13);
	}
	tap_is_int(wrong, 0, "of any digits");
}

int
main(void)
{
	static const char *const numbers[] = {
		"555",	  "123",	  "4567", "1", "12", "5", "-", ".",		   " ",
		"(",	  ")",		  "+",	  "-", ".",	 " ", "x", "\xC3\xA9", "555-123-4567",
		"+1 234", "56789012", "\n",
	};
	static const char *const addresses[] = {
		"a",
		"b.cc",
		"@",
		"@",
		"@b.",
		".",
		"-",
		"9",
		"com",
		"\xC3\xA9",
		"\xC3\x97",
		"\xE4\xBD\xA0",
		" ",
		"!",
		"_",
		"\xF0\x9F\x98\x80",
		"\xEF\xBC\x8E",
		"c",
	};
	static const char *const both[] = {
		"a",
		"@b.cc",
		"@",
		".",
		"-",
		"(",
		")",
		"+",
		"1",
		"123",
		"555-123-",
		"4567",
		"12345678",
		" ",
		"x@y.zz",
		"\xC3\xA9",
		"555 123 4567",
		",",
	};

	check_found();
	check_not_found();
	check_mask();
	check_mask_without_room();
	check_characters();
	check_run_lengths();
	check_alignment();
	check_random("numbers", numbers, sizeof(numbers) / sizeof(numbers[0]));
	check_random("addresses", addresses, sizeof(addresses) / sizeof(addresses[0]));
	check_random("both", both, sizeof(both) / sizeof(both[0]));
	return tap_done();
}
