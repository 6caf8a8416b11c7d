/* The JSON reader: what it takes, what it refuses, and that spans are exact. */
#include <stdlib.h>

#include "core/json.h"
#include "tap.h"

/* A copy of exactly the text, so that a sanitizer sees a step too far. */
static char *
exact(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return copy;
}

static bool
valid(const char *text, size_t len)
{
	char   *copy = exact(text, len);
	SmemStr s = {copy, len};
	SmemStr value;
	bool	ok = smem_json_check(s, &value);

	free(copy);
	return ok;
}

static void
check_grammar(void)
{
	static const char *const good[] = {
		"{}",
		"[]",
		" { } ",
		"null",
		"true",
		"false",
		"0",
		"-0",
		"1.5e+10",
		"1E-2",
		"\"\"",
		"[1,[2,{\"a\":[]}]]",
		"{\"a\":1,\"a\":2}",
		"\"\\u00e9\\n\\\"\\\\\\/\"",
		"\"\xC3\xA9\"",
		"\"\xF0\x9F\x98\x80\"",
		"\n\t\r [ 1 , 2 ] \n",
		"\"\\ud800\"",
		"1e400",
	};
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"}",
		"[",
		"[1,]",
		"{\"a\":1,}",
		"{\"a\"}",
		"{a:1}",
		"{\"a\":}",
		"01",
		"-",
		"1.",
		".5",
		"1e",
		"+1",
		"tru",
		"nulll",
		"\"",
		"\"\\x\"",
		"\"\\u12\"",
		"\"\\u12g4\"",
		"\"\x01\"",
		"[1 2]",
		"1 2",
		"{\"a\":1 \"b\":2}",
		"\"\xC3\"",
		"\"\xC0\xAF\"",
		"\"\xED\xA0\x80\"",
		"\"\xF4\x90\x80\x80\"",
		"\"\xE0\x80\x80\"",
		"\"\xF0\x80\x80\x80\"",
		"\"\xFF\"",
		"'a'",
		"\"\\",
		"[[",
		"NaN",
		"// c\n1",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		tap_ok(valid(good[i], strlen(good[i])), "good case %zu is taken", i);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_ok(!valid(bad[i], strlen(bad[i])), "bad case %zu is refused", i);
	tap_ok(!valid("\"a\0b\"", 5), "a NUL is refused");
}

static void
check_depth(void)
{
	char text[2 * (SMEM_JSON_DEPTH + 1)];

	memset(text, '[', SMEM_JSON_DEPTH + 1);
	memset(text + SMEM_JSON_DEPTH + 1, ']', SMEM_JSON_DEPTH + 1);
	tap_ok(valid(text + 1, sizeof(text) - 2), "nesting up to the limit");
	tap_ok(!valid(text, sizeof(text)), "and no deeper");
}

static void
check_walk(void)
{
	static const char text[] =
		" { \"a\" : [1, {\"b\":\"]}\\\"\"} , -2.50] , \"c\":null,\"d\" : \"x\" } ";
	SmemStr		 value;
	SmemStr		 name;
	SmemStr		 member;
	SmemStr		 element;
	SmemJsonWalk walk;
	SmemJsonWalk inner;
	char		 seen[200] = "";

	smem_json_check(smem_str(text), &value);
	tap_ok(smem_json_object(value, &walk) && !smem_json_array(value, &inner), "it is an object");
	while (smem_json_member(&walk, &name, &member))
	{
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%.*s=%.*s;", (int) name.len,
				 name.data, (int) member.len, member.data);
		if (!smem_json_array(member, &inner))
			continue;
		while (smem_json_element(&inner, &element))
			snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "<%.*s>", (int) element.len,
					 element.data);
	}
	tap_is(seen,
		   "\"a\"=[1, {\"b\":\"]}\\\"\"} , -2.50];<1><{\"b\":\"]}\\\"\"}><-2.50>"
		   "\"c\"=null;\"d\"=\"x\";",
		   "members and elements are spans of the text");
	smem_json_check(smem_str("[ ]"), &value);
	tap_ok(smem_json_array(value, &walk) && !smem_json_element(&walk, &element),
		   "an empty array has no element");
}

static void
check_strings(void)
{
	SmemBuf buf;

	tap_ok(smem_json_equals(smem_str("\"a/b\""), smem_str("a/b")), "a plain string");
	tap_ok(smem_json_equals(smem_str("\"a\\/\\u0062\\n\""), smem_str("a/b\n")), "an escaped one");
	tap_ok(smem_json_equals(smem_str("\"\\ud83d\\ude00\""), smem_str("\xF0\x9F\x98\x80")),
		   "a surrogate pair");
	tap_ok(!smem_json_equals(smem_str("\"ab\""), smem_str("a")), "a longer one differs");
	tap_ok(!smem_json_equals(smem_str("\"\\u0061\""), smem_str("ab")), "a shorter one too");
	tap_ok(!smem_json_equals(smem_str("12"), smem_str("12")), "a number is no string");
	smem_buf_init(&buf, 100);
	smem_json_unescape(&buf, smem_str("\"x\\t\\u20ac\\ud800y\\b\\f\\r\""));
	tap_is(smem_buf_text(&buf), "x\t\xE2\x82\xAC\xEF\xBF\xBDy\b\f\r",
		   "escapes are resolved, half a pair becomes U+FFFD");
	smem_buf_free(&buf);
}

static void
check_storable(void)
{
	tap_ok(smem_json_storable(smem_str("[1.5,\"a\\n\",{\"b\":true},-1e3,\"\\ud83d\\ude00\"]")),
		   "what jsonb takes");
	tap_ok(!smem_json_storable(smem_str("{\"a\\u0000\":1}")), "not \\u0000");
	tap_ok(!smem_json_storable(smem_str("[\"\\ud800\"]")), "not half a pair");
	tap_ok(!smem_json_storable(smem_str("[1e999999]")), "not a number beyond numeric");
	tap_ok(smem_json_storable(smem_str("[\"1e999999 \\\\u0000\"]")), "inside a string it is text");
}

int
main(void)
{
	check_grammar();
	check_depth();
	check_walk();
	check_strings();
	check_storable();
	return tap_done();
}
