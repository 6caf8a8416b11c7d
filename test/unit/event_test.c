/* The Kafka event of a row: every byte of key, value and headers. */
#include <stdlib.h>

#include "courier/event.h"
#include "tap.h"

static const char plain_value[] =
	"{\"type\":\"memory.write\",\"id\":42,\"idempotency_key\":\"acme/wm/s1/user//abc\","
	"\"role\":\"user\","
	"\"session_id\":\"s1\",\"persona_id\":null,\"tenant\":\"acme\",\"namespace\":\"wm\","
	"\"payload\":{\"content\": \"a\\u00e9\\\"b\", \"n\": 1.50},\"result\":null,"
	"\"timestamp\":1700000000.000042}";

static SmemRow
plain_row(void)
{
	SmemRow row = {
		.id = 42,
		.created_us = 1700000000000042,
		.tenant = smem_str("acme"),
		.session = smem_str("s1"),
		.namespace = smem_str("wm"),
		.role = smem_str("user"),
		.key = smem_str("acme/wm/s1/user//abc"),
		.payload = smem_str("{\"content\": \"a\\u00e9\\\"b\", \"n\": 1.50}"),
	};

	return row;
}

static const char *
text_of(SmemStr s)
{
	static char text[4][4096];
	static int	next;
	char	   *place = text[next++ % 4];

	if (!smem_str_present(s))
		return NULL;
	snprintf(place, sizeof(text[0]), "%.*s", (int) s.len, s.data);
	return place;
}

static void
check_key(const char *tenant, const char *session, const char *want)
{
	SmemEvent ev;
	SmemRow	  row = plain_row();
	char	  title[256];

	smem_event_init(&ev);
	row.tenant = smem_str(tenant);
	row.session = smem_str(session);
	snprintf(title, sizeof(title), "key of tenant \"%s\" and session \"%s\"", tenant, session);
	tap_ok(smem_event_build(&ev, &row), "%s is built", title);
	tap_is(text_of(smem_event_part(&ev, ev.key)), want, title);
	smem_event_free(&ev);
}

static void
check_keys(void)
{
	static const char *const cases[][3] = {
		{"acme", "s1", "acme/s1"},
		{"a/b", "c", "a%2Fb/c"},
		{"a", "b/c", "a/b%2Fc"},
		{"50%", "%2F", "50%25/%252F"},
		{"with space", "\xc3\xa9+&?", "with space/\xc3\xa9+&?"},
		{"/", "/", "%2F/%2F"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_key(cases[i][0], cases[i][1], cases[i][2]);
}

static void
check_times(void)
{
	static const struct
	{
		int64_t		us;
		const char *epoch;
		const char *rfc3339;
	} cases[] = {
		{0, "0.000000", "1970-01-01T00:00:00.000000Z"},
		{1, "0.000001", "1970-01-01T00:00:00.000001Z"},
		{-1, "-0.000001", "1969-12-31T23:59:59.999999Z"},
		{-1500000, "-1.500000", "1969-12-31T23:59:58.500000Z"},
		{1709164800123456, "1709164800.123456", "2024-02-29T00:00:00.123456Z"},
		{253402300799999999, "253402300799.999999", "9999-12-31T23:59:59.999999Z"},
	};
	SmemEvent ev;
	SmemRow	  row = plain_row();

	smem_event_init(&ev);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *at;
		char		tail[64];

		row.created_us = cases[i].us;
		smem_event_build(&ev, &row);
		tap_is(text_of(smem_event_part(&ev, ev.time)), cases[i].rfc3339, "ce_time");
		snprintf(tail, sizeof(tail), "\"timestamp\":%s}", cases[i].epoch);
		at = strstr(text_of(smem_event_part(&ev, ev.value)), "\"timestamp\"");
		tap_is(at, tail, "timestamp, to the microsecond");
	}
	smem_event_free(&ev);
}

static void
check_value(void)
{
	SmemEvent ev;
	SmemRow	  row = plain_row();

	smem_event_init(&ev);
	smem_event_build(&ev, &row);
	tap_is(text_of(smem_event_part(&ev, ev.value)), plain_value, "value, payload to the byte");

	row.persona = smem_str("p\"1\\");
	row.role = smem_str("\x01\n");
	smem_event_build(&ev, &row);
	tap_ok(strstr(text_of(smem_event_part(&ev, ev.value)), "\"persona_id\":\"p\\\"1\\\\\"") != NULL,
		   "names are escaped");
	tap_ok(strstr(text_of(smem_event_part(&ev, ev.value)), "\"role\":\"\\u0001\\n\"") != NULL,
		   "control characters are escaped");
	smem_event_free(&ev);
}

static void
check_headers(void)
{
	static const char *const want[][2] = {
		{"ce_specversion", "1.0"},
		{"ce_id", "42"},
		{"ce_source", "postgresql://7/app"},
		{"ce_type", "memory.write"},
		{"ce_time", "2023-11-14T22:13:20.000042Z"},
		{"content-type", "application/json"},
		{"traceparent", "00-aa-bb-01"},
	};
	SmemEventHeader got[SMEM_EVENT_HEADERS];
	SmemEvent		ev;
	SmemRow			row = plain_row();

	smem_event_init(&ev);
	smem_event_build(&ev, &row);
	tap_is_int(smem_event_headers(&ev, smem_str("x"), got), 6, "no traceparent without one");

	row.traceparent = smem_str("00-aa-bb-01");
	smem_event_build(&ev, &row);
	tap_is_int(smem_event_headers(&ev, smem_str("postgresql://7/app"), got), 7, "all headers");
	for (int i = 0; i < 7; i++)
	{
		tap_is(got[i].name, want[i][0], "header name");
		tap_is(text_of(got[i].value), want[i][1], want[i][0]);
	}
	smem_event_free(&ev);
}

static void
check_dead_letter(void)
{
	static const char want[] =
		"{\"type\":\"memory.dead_letter\",\"idempotency_key\":\"acme/wm/s1/user//abc\","
		"\"role\":\"user\","
		"\"session_id\":\"s1\",\"persona_id\":null,\"tenant\":\"acme\",\"namespace\":\"wm\","
		"\"payload\":{\"content\": \"a\\u00e9\\\"b\", \"n\": 1.50},"
		"\"timestamp\":1700000000.000042,\"id\":42,\"sink\":\"somabrain\",\"attempts\":3}";
	SmemEventHeader got[SMEM_EVENT_HEADERS];
	SmemEvent		ev;
	SmemRow			row = plain_row();

	row.id = -7;
	row.flags = SMEM_ROW_DEAD_LETTER;
	row.universe = smem_str("somabrain/42");
	row.extras = smem_str("\"id\":42,\"sink\":\"somabrain\",\"attempts\":3");
	row.traceparent = smem_str("00-aa-bb-01");
	smem_event_init(&ev);
	tap_ok(smem_event_build(&ev, &row) && ev.dead_letter, "news of a dead letter");
	tap_is(text_of(smem_event_part(&ev, ev.value)), want, "its value");
	tap_is(text_of(smem_event_part(&ev, ev.key)), "acme/s1", "its key is the writes'");
	tap_is_int(smem_event_headers(&ev, smem_str("x"), got), 7, "all headers");
	tap_is(text_of(got[1].value), "somabrain/42", "ce_id names sink and row");
	tap_is(text_of(got[3].value), "memory.dead_letter", "ce_type");
	tap_is(text_of(got[6].value), "00-aa-bb-01", "traceparent");

	row.extras = (SmemStr){NULL, 0};
	smem_event_build(&ev, &row);
	tap_ok(strstr(text_of(smem_event_part(&ev, ev.value)), ".000042}") != NULL,
		   "without extras it is whole, too");
	row = plain_row();
	smem_event_build(&ev, &row);
	tap_is(text_of(smem_event_part(&ev, ev.value)), plain_value, "a write after it is a write");
	smem_event_free(&ev);
}

static void
check_reuse(void)
{
	SmemEvent ev;
	SmemRow	  row = plain_row();
	size_t	  large = 3 * 1000 * 1000;
	char	 *payload = malloc(large);

	smem_event_init(&ev);
	memset(payload, ' ', large);
	payload[0] = '{';
	payload[large - 1] = '}';
	row.payload = (SmemStr){payload, large};
	tap_ok(smem_event_build(&ev, &row), "a large payload is taken");
	tap_ok(smem_event_size(&ev) > large, "its size counts");
	tap_ok(memmem(ev.text.data, smem_event_size(&ev), payload, large) != NULL, "and is whole");

	row = plain_row();
	smem_event_build(&ev, &row);
	tap_is(text_of(smem_event_part(&ev, ev.value)), plain_value, "nothing is left over");
	smem_event_free(&ev);
	smem_event_free(&ev);
	free(payload);
}

int
main(void)
{
	check_keys();
	check_value();
	check_times();
	check_headers();
	check_dead_letter();
	check_reuse();
	return tap_done();
}
