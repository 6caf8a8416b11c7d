/*
 * SomaBrain requests as the service sees them: bodies, headers, the three
 * forms, and what becomes of answers.
 */
#include <sys/stat.h>
#include <openssl/sha.h>

#include "brain_bed.h"

static char seen_head[4096];
static char seen_body[8192];
static char seen_path[64];

static Reply
keep(Bed *bed, const Ask *ask)
{
	(void) bed;
	snprintf(seen_head, sizeof(seen_head), "%.*s", (int) ask->head.len, ask->head.data);
	snprintf(seen_body, sizeof(seen_body), "%.*s", (int) ask->body.len, ask->body.data);
	snprintf(seen_path, sizeof(seen_path), "%s", ask->path);
	return (Reply){.manner = ACCEPT};
}

static bool
has_header(const char *line)
{
	char text[400];

	snprintf(text, sizeof(text), "\r\n%s\r\n", line);
	return strstr(seen_head, text) != NULL;
}

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static void
push_rich_rows(Bed *bed)
{
	SmemRow row = bed_row(bed, 1, "a b/\xC3\xA9", "s1");

	row.payload = smem_str("{\"content\": \"x\\n\\u00e9\", \"n\": 1.50}");
	row.extras = smem_str("\"tags\":[\"x\"],\"importance\":0.5");
	row.universe = smem_str("uni\"verse");
	bed_send(bed, &row);
	row = bed_row(bed, 2, "a b/\xC3\xA9", "s2");
	row.payload = smem_str("{}");
	row.traceparent = smem_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	bed_send(bed, &row);
}

static void
check_request(void)
{
	char		  token[] = "/tmp/smem_token_XXXXXX";
	unsigned char digest[32];
	char		  key_line[100] = "Idempotency-Key: ";
	Bed			 *bed;
	int			  fd = mkstemp(token);

	close(fd);
	write_file(token, "first token\n");
	bed = BED_START(keep, "somabrain_path_prefix", "/api/", "somabrain_token_file", token);
	push_rich_rows(bed);
	tap_ok(BED_UNTIL(bed, bed->done == 2), "two rows are delivered");
	tap_is(seen_path, "/api/memory/remember/batch", "at the batch endpoint, below the prefix");
	tap_is(seen_body,
		   "{\"tenant\":\"a b/\xC3\xA9\",\"namespace\":\"wm\",\"items\":["
		   "{\"key\":\"k1\",\"value\":{\"content\": \"x\\n\\u00e9\", \"n\": 1.50},"
		   "\"tags\":[\"x\"],\"importance\":0.5,\"universe\":\"uni\\\"verse\"},"
		   "{\"key\":\"k2\",\"value\":{}}]}",
		   "the body holds payloads as they are");
	tap_ok(has_header("X-Tenant-ID: a%20b%2F%C3%A9"), "the tenant is percent-encoded");
	tap_ok(has_header("Content-Type: application/json"), "the content type");
	tap_ok(has_header("Authorization: Bearer first token"), "the token of the file");
	tap_ok(has_header("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		   "the first trace of the rows");
	SHA256((const unsigned char *) "k1\nk2", 5, digest);
	for (int i = 0; i < 32; i++)
		snprintf(key_line + strlen(key_line), 3, "%02x", digest[i]);
	tap_ok(has_header(key_line), "the idempotency key is the hash of the keys");
	tap_is_int((long long) strlen(bed->notes[0].request_id), 36, "a request id");
	tap_is(bed->rows[1].receipt, "{\"coordinate\": [1, 1.50], \"request_id\": \"r1\"}",
		   "the receipt has coordinate and request id as given");
	write_file(token, "the second token");
	bed_push(bed, 3, "t", "s");
	BED_UNTIL(bed, bed->done == 3);
	/* The file is looked at once a second. */
	for (int id = 4; !has_header("Authorization: Bearer the second token") && id < 40; id++)
	{
		bed_pass(bed, 60);
		bed_push(bed, id, "t", "s");
		BED_UNTIL(bed, bed->done == id);
	}
	tap_ok(has_header("Authorization: Bearer the second token"), "a changed token is read again");
	tap_ok(strcmp(bed->notes[0].request_id, bed->notes[1].request_id) != 0,
		   "each request has an id of its own");
	tap_is_int(bed_stop(bed), 0, "the courier ends with its socket");
	unlink(token);
}

/* knob: 1 knows no batch, 2 only the legacy form, 3 none. */
static Reply
know_less(Bed *bed, const Ask *ask)
{
	char form = name_form(ask->path);

	if (bed->knob > 2 || (bed->knob > 1 && form == 's') || (bed->knob > 0 && form == 'b'))
		return (Reply){.manner = ANSWER, .status = 404, .body = "{\"detail\": \"Not Found\"}"};
	snprintf(seen_body, sizeof(seen_body), "%.*s", (int) ask->body.len, ask->body.data);
	snprintf(seen_path, sizeof(seen_path), "%s", ask->path);
	return (Reply){.manner = ACCEPT};
}

static int
count_form(const Bed *bed, char form)
{
	int n = 0;

	for (int i = 0; i < bed->asked; i++)
		n += bed->notes[i].form == form;
	return n;
}

static void
check_single(void)
{
	Bed *bed = BED_START(know_less, "somabrain_concurrency", "1", "somabrain_path_prefix", "api");

	bed->knob = 1;
	bed_push_many(bed, 1, 20, "t", 1);
	tap_ok(BED_UNTIL(bed, bed->done == 20) && bed_all(bed, 1, 20, 1), "single: rows are delivered");
	tap_ok(count_form(bed, 'b') == 1 && count_form(bed, 's') == 20,
		   "single: the form that works is kept");
	tap_is(seen_path, "/api/memory/remember", "single: below the prefix");
	tap_is(seen_body,
		   "{\"tenant\":\"t\",\"namespace\":\"wm\",\"key\":\"k20\",\"value\":"
		   "{\"id\": 20, \"content\": \"a secret that nobody may see\"}}",
		   "single: the body");
	tap_is(bed->rows[7].receipt, "{\"coordinate\": [7, 1.50], \"request_id\": \"r7\"}",
		   "single: the receipt");
	tap_ok(bed_ordered(bed), "single: sessions keep their order");
	bed_stop(bed);
}

static void
check_legacy(void)
{
	Bed *bed = BED_START(know_less, "somabrain_path_prefix", "/api");

	bed->knob = 2;
	bed_push_many(bed, 1, 40, "t", 8);
	tap_ok(BED_UNTIL(bed, bed->done == 40) && bed_all(bed, 1, 40, 1), "legacy: rows are delivered");
	tap_ok(bed_ordered(bed), "legacy: sessions keep their order");
	tap_is(seen_path, "/remember", "legacy: without the prefix");
	tap_ok(strstr(seen_body, "{\"payload\":{\"id\": ") == seen_body, "legacy: the body");
	tap_ok(bed->busiest <= 8, "no more connections than allowed");
	bed->knob = 0;
	bed->asked = 0;
	bed_push_many(bed, 41, 80, "t", 8);
	BED_UNTIL(bed, bed->done == 80);
	tap_ok(bed_all(bed, 41, 80, 1) && count_form(bed, 'l') == 40,
		   "legacy: kept as long as it works");
	bed_stop(bed);
}

static void
check_no_form(void)
{
	Bed *bed = BED_START(know_less, NULL);

	bed->knob = 3;
	bed_push_many(bed, 1, 10, "t", 3);
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.error[0]),
		   "no form: it is the sink's trouble");
	tap_is(bed->drive.error, "service answered 404 to every form of the request",
		   "no form: it is said so");
	tap_is_int(bed->done, 0, "no form: no row has an outcome");
	bed->knob = 1;
	tap_ok(BED_UNTIL(bed, bed->done == 10) && bed_all(bed, 1, 10, 1) && bed_ordered(bed),
		   "no form: rows go when there is one");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED && !bed->drive.error[0]),
		   "no form: the trouble is over");
	bed_stop(bed);
}

typedef struct Odd
{
	const char *title;
	const char *body;
	const char *receipt; /* NULL: not delivered */
} Odd;

static const Odd odds[] = {
	{"a long number",
	 "{\"ok\":true,\"results\":[{\"key\":\"k1\",\"coordinate\":12345678901234567890123456789.10}]}",
	 "{\"coordinate\": 12345678901234567890123456789.10}"},
	{"an object",
	 "{\"results\":[{\"coordinate\":{ \"a\" : [null] },\"key\":\"\\u006b1\"}],\"ok\": true}",
	 "{\"coordinate\": { \"a\" : [null] }}"},
	{"no coordinate", "{\"ok\":true,\"results\":[{\"key\":\"k1\"}]}", "{}"},
	{"what jsonb cannot hold",
	 "{\"ok\":true,\"results\":[{\"key\":\"k1\",\"coordinate\":\"\\u0000\",\"request_id\":\"r\"}]}",
	 "{\"request_id\": \"r\"}"},
	{"other keys too",
	 "{\"ok\":true,\"results\":[{\"key\":\"zz\"},{\"key\":\"k1\",\"coordinate\":1},7,{}]}",
	 "{\"coordinate\": 1}"},
	{"ok is false", "{\"ok\":false,\"results\":[{\"key\":\"k1\"}]}", NULL},
	{"ok is no boolean", "{\"ok\":\"yes\",\"results\":[{\"key\":\"k1\"}]}", NULL},
	{"no results", "{\"ok\":true}", NULL},
	{"results of others", "{\"ok\":true,\"results\":[{\"key\":\"k2\"}]}", NULL},
	{"an array", "[]", NULL},
	{"no JSON", "<html>welcome</html>", NULL},
	{"half of it", "{\"ok\":true,\"results\":[{\"key\":\"k1\"", NULL},
	{"nothing", "", NULL},
	{"not UTF-8", "{\"ok\":true,\"results\":[{\"key\":\"k1\",\"x\":\"\xFF\"}]}", NULL},
};

static Reply
answer_oddly(Bed *bed, const Ask *ask)
{
	(void) ask;
	if (bed->knob < 0)
		return (Reply){.manner = ACCEPT};
	return (Reply){.manner = ANSWER, .status = 200, .body = odds[bed->knob].body};
}

static void
check_answers(void)
{
	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++)
	{
		Bed *bed = BED_START(answer_oddly, NULL);

		bed->knob = (int) i;
		bed_push(bed, 1, "t", "s");
		if (odds[i].receipt != NULL)
		{
			BED_UNTIL(bed, bed->done == 1);
			tap_ok(bed_all(bed, 1, 1, 1) && strcmp(bed->rows[1].receipt, odds[i].receipt) == 0,
				   "answer with %s: %s", odds[i].title, bed->rows[1].receipt);
		}
		else
		{
			BED_UNTIL(bed, bed->asked >= 4);
			tap_ok(bed->done == 0, "answer with %s: not delivered", odds[i].title);
			bed->knob = -1;
			BED_UNTIL(bed, bed->done == 1);
			tap_ok(bed_all(bed, 1, 1, 1), "answer with %s: delivered later", odds[i].title);
		}
		bed_stop(bed);
	}
}

int
main(void)
{
	check_request();
	check_single();
	check_legacy();
	check_no_form();
	check_answers();
	return tap_done();
}
