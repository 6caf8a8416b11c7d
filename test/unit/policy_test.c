/*
 * The built-in rules: every decision of policy/cases, and what no case can
 * tell: numbers to the last digit, names and rows, texts that lie elsewhere.
 */
#include <glob.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/policy.h"
#include "core/table.h"
#include "tap.h"

#define CASES "../../policy/cases/*.json"

/* The file's text, for the caller to free. */
static char *
read_file(const char *path, size_t *n)
{
	FILE  *f = fopen(path, "r");
	size_t size = 4 * 1024 * 1024;
	char  *text = malloc(size);

	*n = f == NULL ? 0 : fread(text, 1, size, f);
	if (f != NULL)
		fclose(f);
	return text;
}

/* The decision on an input that lies in memory of exactly its size; "none" where it is none. */
static const char *
decide(SmemStr json, bool *allow)
{
	char			  *copy = malloc(json.len ? json.len : 1);
	SmemStr			   text = {copy, json.len};
	SmemBuf			   arena;
	SmemPolicyInput	   input;
	SmemPolicyDecision decision = {0};
	const char		  *reason = "none";

	memcpy(copy, json.data, json.len);
	smem_buf_init(&arena, 1024 * 1024);
	if (smem_policy_read(text, &arena, &input))
	{
		decision = smem_policy_decide(&input);
		reason = smem_policy_reason(decision.rule);
	}
	*allow = decision.allow;
	smem_buf_free(&arena);
	free(copy);
	return reason;
}

static void
check_case(SmemStr object)
{
	SmemStr		 name = {"", 0};
	SmemStr		 input = {"", 0};
	SmemStr		 allow = {"", 0};
	SmemStr		 reason = {"\"\"", 2};
	SmemStr		 key;
	SmemStr		 value;
	SmemJsonWalk walk;
	const char	*got;
	bool		 allowed;

	if (!tap_ok(smem_json_object(object, &walk), "a case is an object"))
		return;
	while (smem_json_member(&walk, &key, &value))
	{
		if (smem_json_equals(key, smem_str("name")))
			name = value;
		else if (smem_json_equals(key, smem_str("input")))
			input = value;
		else if (smem_json_equals(key, smem_str("allow")))
			allow = value;
		else if (smem_json_equals(key, smem_str("reason")))
			reason = value;
	}
	got = decide(input, &allowed);
	if (!tap_ok(smem_json_equals(reason, smem_str(got)) &&
					smem_json_is(allow, allowed ? "true" : "false"),
				"case %.*s", (int) name.len, name.data))
		printf("#  got: %s, %s\n# want: %.*s, %.*s\n", allowed ? "true" : "false", got,
			   (int) allow.len, allow.data, (int) reason.len, reason.data);
}

static void
check_cases(void)
{
	glob_t		 files;
	SmemStr		 text;
	SmemStr		 value;
	SmemStr		 object;
	SmemJsonWalk walk;
	int			 n = 0;

	if (glob(CASES, 0, NULL, &files) != 0)
		files.gl_pathc = 0;
	for (size_t i = 0; i < files.gl_pathc; i++)
	{
		char *content = read_file(files.gl_pathv[i], &text.len);

		text.data = content;
		if (tap_ok(smem_json_check(text, &value) && smem_json_array(value, &walk), "%s is an array",
				   files.gl_pathv[i]))
		{
			for (; smem_json_element(&walk, &object); n++)
				check_case(object);
		}
		free(content);
	}
	tap_ok(n >= 150, "there are %d cases", n);
	if (files.gl_pathc > 0)
		globfree(&files);
}

static void
check_decision(const char *json, const char *want)
{
	bool allow;

	tap_is(decide(smem_str(json), &allow), want, json);
}

static void
check_numbers(void)
{
	static const struct
	{
		const char *size;
		bool		fits;
	} cases[] = {
		{"0", true},
		{"-0", true},
		{"-0.0e5", true},
		{"0e999999999999999999999", true},
		{"0.000", true},
		{"1", true},
		{"1.0", true},
		{"1.5", false},
		{"-1", false},
		{"-1e-400", false},
		{"5e3", true},
		{"5E+3", true},
		{"5000e-3", true},
		{"5000e-4", false},
		{"5001e-3", false},
		{"5.2428800e7", true},
		{"52428800", true},
		{"52428800.000000000000000000000000000000000001", false},
		{"52428799.999999999999999999999999999999999999", false},
		{"52428801", false},
		{"52428800000000000000000000000000000000000e-33", true},
		{"0.00000000000000000000000000000000000052428800e44", true},
		{"0.00000000000000000000000000000000000052428800e45", false},
		{"18446744073709551616", false},
		{"18446744073709551617e0", false},
		{"184467440737095516160000000000000000000000e-1", false},
		{"1e18", false},
		{"1e999", false},
		{"1e-999", false},
		{"1e99999999999999999999999999", false},
		{"1e-99999999999999999999999999", false},
		{"4294967296", false},
		{"9223372036854775808", false},
		{"10000000000000000000000000e-25", true},
		{"\"5\"", false},
		{"true", false},
		{"[]", false},
		{"null", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char json[400];
		bool allow;

		snprintf(json, sizeof(json),
				 "{\"action\":\"tool.execute\",\"resource\":\"document_ingest\",\"tenant\":\"a\","
				 "\"payload\":{\"args\":{\"size_bytes\":%s}},\"context\":{\"allowed_tenants\":"
				 "[1,\"b\",\"\\u0061\"]}}",
				 cases[i].size);
		tap_is(decide(smem_str(json), &allow),
			   smem_policy_reason(cases[i].fits ? SMEM_POLICY_ALLOWED : SMEM_POLICY_INGEST_SIZE),
			   cases[i].size);
	}
}

static void
check_rates(void)
{
	static const struct
	{
		const char *writes;
		const char *limit;
		bool		fits;
	} cases[] = {
		{"999", "1000", true},
		{"1000", "1000", false},
		{"0", "1", true},
		{"0", "0.0", true},
		{"999999999999999998", "999999999999999999", true},
		{"999999999999999999", "999999999999999999", false},
		{"999999999999999999", "0", true},
		{"1e18", "0", false},
		{"0", "1e18", false},
		{"0", "1e999", false},
		{"-1", "0", false},
		{"0.5", "0", false},
		{"0", "-1", false},
		{"0", "1.5", false},
		{"null", "null", true},
		{"999.0", "null", true},
		{"1e3", "null", false},
		{"null", "0e7", true},
		{"false", "1000", false},
		{"0", "\"1000\"", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char json[400];
		bool allow;

		snprintf(json, sizeof(json),
				 "{\"action\":\"memory.write\",\"resource\":\"somabrain\",\"tenant\":\"a\","
				 "\"payload\":{\"metadata\":{\"tenant\":\"a\"}},\"context\":"
				 "{\"writes_last_minute\":%s,\"rate_limit_per_minute\":%s}}",
				 cases[i].writes, cases[i].limit);
		decide(smem_str(json), &allow);
		tap_ok(allow == cases[i].fits, "%s of %s", cases[i].writes, cases[i].limit);
	}
}

/* Small numbers in every spelling. */
static void
check_spellings(void)
{
	int wrong = 0;

	for (int n = 0; n < 3000; n++)
	{
		for (int power = -4; power <= 4; power++)
		{
			SmemPolicyInput input;
			SmemBuf			arena;
			char			json[200];
			double			value = n;
			bool			whole;

			for (int i = 0; i < abs(power); i++)
				value = power < 0 ? value / 10 : value * 10;
			whole = power >= 0 || n % (power == -1	 ? 10
									   : power == -2 ? 100
									   : power == -3 ? 1000
													 : 10000) ==
									  0;
			snprintf(json, sizeof(json), "{\"context\":{\"writes_last_minute\":%d.%03de%d}}",
					 n / 1000, n % 1000, power + 3);
			smem_buf_init(&arena, 1000);
			wrong += !smem_policy_read(smem_str(json), &arena, &input);
			wrong += (input.context.writes_last_minute.kind == SMEM_POLICY_WHOLE) != whole;
			if (whole)
				wrong += input.context.writes_last_minute.number != (uint64_t) (value + 0.5);
			smem_buf_free(&arena);
		}
	}
	tap_is_int(wrong, 0, "small numbers are read to the last digit in every spelling");
}

static void
check_reading(void)
{
	check_decision("[]", "none");
	check_decision("", "none");
	check_decision("{\"action\":\"tool.catalog.update\"", "none");
	check_decision("\"{}\"", "none");
	check_decision(" {} ", smem_policy_reason(SMEM_POLICY_UNKNOWN_ACTION));
	check_decision("{\"\\u0061ction\":\"settings.up\\u0064ate\",\"payload\":{\"key\":\"\"}}",
				   smem_policy_reason(SMEM_POLICY_ALLOWED));
	check_decision("{\"action\":\"settings.update\",\"payload\":{\"key\":\"a\"},\"payload\":{}}",
				   smem_policy_reason(SMEM_POLICY_SETTINGS_KEY));
	check_decision("{\"action\":\"settings.update\",\"payload\":{\"key\":\"a\"},\"payload\":1}",
				   smem_policy_reason(SMEM_POLICY_SETTINGS_KEY));
	check_decision("{\"action\":\"settings.update\",\"payload\":{\"key\":1,\"key\":\"a\"}}",
				   smem_policy_reason(SMEM_POLICY_ALLOWED));
	check_decision("{\"action\":\"settings.update\\u0000\",\"payload\":{\"key\":\"a\"}}",
				   smem_policy_reason(SMEM_POLICY_UNKNOWN_ACTION));
	check_decision("{\"action\":[\"settings.update\"],\"payload\":{\"key\":\"a\"}}",
				   smem_policy_reason(SMEM_POLICY_UNKNOWN_ACTION));
	check_decision("{\"action\":\"memory.delete\",\"context\":{\"user\":\"\\u0000\\u00e9\","
				   "\"session_owner\":\"\\u0000\xC3\xA9\"}}",
				   smem_policy_reason(SMEM_POLICY_ALLOWED));
	check_decision("{\"action\":\"memory.delete\",\"context\":{\"user\":\"a\\u0000b\","
				   "\"session_owner\":\"a\\u0000c\"}}",
				   smem_policy_reason(SMEM_POLICY_NOT_OWNER));
}

/* Members far larger than the arena was, each with an escape: none may point to where it was. */
static void
check_arena(void)
{
	SmemBuf			arena;
	SmemBuf			json;
	SmemPolicyInput input;

	smem_buf_init(&json, 1024 * 1024);
	smem_buf_puts(&json, "{\"action\":\"\\u0061\",\"payload\":{\"content\":\"");
	for (int i = 0; i < 5000; i++)
		smem_buf_puts(&json, "\\n\\u00e9");
	smem_buf_puts(&json, "\",\"tenant\":\"\\u0062\"},\"tenant\":\"\\u0063\"}");
	smem_buf_init(&arena, 1024 * 1024);
	smem_buf_puts(&arena, "kept");
	tap_ok(smem_policy_read(smem_str(smem_buf_text(&json)), &arena, &input) &&
			   smem_str_equal(input.action.text, smem_str("a")) &&
			   smem_str_equal(input.tenant.text, smem_str("c")) &&
			   smem_str_equal(input.payload.tenant.text, smem_str("b")) &&
			   input.payload.content.text.len == 15000,
		   "what was read stays where it is");
	tap_ok(memcmp(smem_buf_head(&arena), "kept", 4) == 0, "and so does what was there before");
	smem_buf_free(&arena);
	smem_buf_init(&arena, 100);
	tap_ok(!smem_policy_read(smem_str(smem_buf_text(&json)), &arena, &input) && arena.failed,
		   "an arena without room says so");
	smem_buf_free(&arena);
	smem_buf_free(&json);
}

/* The short way to ask about a write, and the long one, must come to the same. */
static void
check_input_write(void)
{
	static const char *const contents[] = {NULL, "", "nothing", "a@b.cc", "call 555-123-4567"};
	static const char *const tenants[] = {NULL, "", "acme"};
	static const uint32_t	 writes[] = {0, 999, 1000, UINT32_MAX};
	static const uint32_t	 limits[] = {0, 1, 1000, UINT32_MAX};
	int						 wrong = 0;

	for (int i = 0; i < 5 * 3 * 2 * 4 * 4; i++)
	{
		const char		  *content = contents[i % 5];
		const char		  *tenant = tenants[i / 5 % 3];
		bool			   deny = i / 15 % 2;
		uint32_t		   count = writes[i / 30 % 4];
		uint32_t		   limit = limits[i / 120];
		SmemStr			   none = {NULL, 0};
		SmemPolicyInput	   input;
		SmemPolicyDecision decision;
		char			   json[500];
		bool			   allow;

		smem_policy_input_write(&input, tenant ? smem_str(tenant) : none,
								content ? smem_str(content) : none, deny, count, limit);
		decision = smem_policy_decide(&input);
		snprintf(json, sizeof(json),
				 "{\"action\":\"memory.write\",\"resource\":\"somabrain\",\"tenant\":%s%s%s,"
				 "\"payload\":{\"tenant\":%s%s%s%s%s%s},\"context\":{\"writes_last_minute\":%u,"
				 "\"rate_limit_per_minute\":%u%s}}",
				 tenant ? "\"" : "null", tenant ? tenant : "", tenant ? "\"" : "",
				 tenant ? "\"" : "null", tenant ? tenant : "", tenant ? "\"" : "",
				 content ? ",\"content\":\"" : "", content ? content : "", content ? "\"" : "",
				 count, limit, deny ? ",\"pii_filter\":\"deny\"" : "");
		wrong += strcmp(decide(smem_str(json), &allow), smem_policy_reason(decision.rule)) != 0 ||
				 allow != decision.allow;
	}
	tap_is_int(wrong, 0, "the short way to ask about a write is the long one");
}

/* All spellings of a sensitive word, and of what is none. */
static void
check_sensitive(void)
{
	static const struct
	{
		const char *key;
		bool		sensitive;
	} cases[] = {
		{"API_KEY", true},
		{"my.Api_Key.2", true},
		{"secret_key", true},
		{"PassWord", true},
		{"to\xE2\x84\xAA"
		 "en",
		 true},
		{"PR\xC4\xB0VATE_\xE2\x84\xAA"
		 "EY",
		 true},
		{"tttoken", true},
		{"\xE2\x84\xAAtoken", true},
		{"to\xE2\x84\xAB"
		 "en",
		 false},
		{"to\xD0\xBA"
		 "en",
		 false},
		{"t\xEF\xBD\x8Fken", false},
		{"pr\xC4\xB1vate_key", false},
		{"api-key", false},
		{"key", false},
		{"", false},
		{"toke", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char json[200];
		bool allow;

		snprintf(json, sizeof(json),
				 "{\"action\":\"settings.update\",\"payload\":{\"key\":\"%s\"}}", cases[i].key);
		decide(smem_str(json), &allow);
		tap_ok(allow != cases[i].sensitive, "%s is %ssensitive", cases[i].key,
			   cases[i].sensitive ? "" : "not ");
	}
}

static void
check_names(void)
{
	int wrong = 0;

	for (int i = 0; i < SMEM_POLICY_RULES; i++)
	{
		wrong += smem_policy_rule_name((SmemPolicyRule) i) == NULL ||
				 smem_policy_reason((SmemPolicyRule) i) == NULL;
		for (int k = 0; k < i; k++)
			wrong += strcmp(smem_policy_rule_name((SmemPolicyRule) i),
							smem_policy_rule_name((SmemPolicyRule) k)) == 0 ||
					 strcmp(smem_policy_reason((SmemPolicyRule) i),
							smem_policy_reason((SmemPolicyRule) k)) == 0;
	}
	tap_is_int(wrong, 0, "every rule has a name and a reason of its own");
	wrong = 0;
	for (int i = 0; i < SMEM_POLICY_ROWS - 1; i++)
		wrong += smem_policy_row(smem_str(smem_policy_row_action(i)),
								 smem_str(smem_policy_row_resource(i))) != i;
	tap_is_int(wrong, 0, "every row is found by its action and resource");
	tap_is_int(smem_policy_row(smem_str("other"), smem_str("x")), SMEM_POLICY_ROWS - 1,
			   "what no row names is the last");
	tap_is(smem_policy_row_action(SMEM_POLICY_ROWS - 1), "other", "which is called other");
	tap_is_int(smem_policy_row(smem_str("memory.write"), smem_str("elsewhere")),
			   SMEM_POLICY_ROWS - 1, "a write elsewhere is other, too");
	tap_is(smem_policy_row_resource(smem_policy_row(smem_str("memory.recall"), smem_str("x"))),
		   "any", "a resource that is not looked at is any");
}

int
main(void)
{
	check_cases();
	check_numbers();
	check_rates();
	check_spellings();
	check_reading();
	check_arena();
	check_input_write();
	check_sensitive();
	check_names();
	return tap_done();
}
