/*
 * The rows that writers write: turns of a conversation, or made up.
 *
 * A turn is one JSON object a line, with conversation, session, date_time,
 * turn, speaker, text.  Made-up rows are the same for the same plan.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "writer.h"

static Row *
add_row(Rows *rows)
{
	if (rows->n == rows->size)
	{
		rows->size = rows->size ? rows->size * 2 : 1024;
		rows->row = realloc(rows->row, (size_t) rows->size * sizeof(Row));
		if (rows->row == NULL)
			smem_die("out of memory", "rows");
	}
	return &rows->row[rows->n++];
}

/* --- rows from a conversation ------------------------------------------- */

typedef struct Reader
{
	char conversation[200];
	char session[200];
	char first_speaker[200]; /* of the conversation: the user */
	long place;				 /* of the turn in its session, from 0 */
} Reader;

static const char *
member(struct json_object *turn, const char *name)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(turn, name, &value);
	return value ? json_object_get_string(value) : "";
}

/* "1:56 pm on 8 May, 2023" plus the turn's place, as ISO 8601; false for another form. */
static bool
format_time(const char *text, long place, char *iso, size_t size)
{
	struct tm	tm = {0};
	time_t		at;
	const char *end = strptime(text, "%I:%M %p on %d %B, %Y", &tm);

	if (end == NULL || *end != '\0')
		return false;
	at = timegm(&tm) + place;
	gmtime_r(&at, &tm);
	strftime(iso, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return true;
}

static void
follow_session(Reader *reader, struct json_object *turn)
{
	const char *conversation = member(turn, "conversation");
	const char *session = member(turn, "session");

	reader->place++;
	if (strcmp(reader->conversation, conversation) != 0)
	{
		snprintf(reader->first_speaker, sizeof(reader->first_speaker), "%s",
				 member(turn, "speaker"));
		reader->place = 0;
	}
	if (strcmp(reader->session, session) != 0)
		reader->place = 0;
	snprintf(reader->conversation, sizeof(reader->conversation), "%s", conversation);
	snprintf(reader->session, sizeof(reader->session), "%s", session);
}

static void
put_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void
take_turn(Rows *rows, Reader *reader, struct json_object *turn)
{
	struct json_object *payload = json_object_new_object();
	struct json_object *metadata = json_object_new_object();
	Row				   *row = add_row(rows);
	const char		   *speaker = member(turn, "speaker");
	char				text[512];

	follow_session(reader, turn);
	row->tenant = strdup(reader->conversation);
	snprintf(text, sizeof(text), "%s-%s", reader->conversation, reader->session);
	row->session = strdup(text);
	put_text(payload, "type", "message");
	put_text(payload, "role", strcmp(speaker, reader->first_speaker) == 0 ? "user" : "assistant");
	put_text(payload, "content", member(turn, "text"));
	put_text(payload, "id", member(turn, "turn"));
	put_text(payload, "tenant", row->tenant);
	put_text(payload, "session_id", row->session);
	if (format_time(member(turn, "date_time"), reader->place, text, sizeof(text)))
		put_text(metadata, "timestamp", text);
	put_text(metadata, "speaker", speaker);
	json_object_object_add(payload, "metadata", metadata);
	row->payload = strdup(json_object_to_json_string_ext(
		payload, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(payload);
}

void
smem_rows_read(Rows *rows, const char *path)
{
	FILE  *file = fopen(path, "r");
	Reader reader = {.place = -1};
	char  *line = NULL;
	size_t size = 0;

	if (file == NULL)
		smem_die("could not open", path);
	while (getline(&line, &size, file) > 0)
	{
		struct json_object *turn = json_tokener_parse(line);

		if (!json_object_is_type(turn, json_type_object))
			smem_die("a line is not a JSON object", path);
		if (member(turn, "text")[0] != '\0')
			take_turn(rows, &reader, turn);
		json_object_put(turn);
	}
	free(line);
	fclose(file);
}

/* --- made-up rows -------------------------------------------------------- */

uint64_t
smem_mix(uint64_t seed, uint64_t n)
{
	uint64_t z = seed * UINT64_C(0x9E3779B97F4A7C15) + (n + 1) * UINT64_C(0xD1342543DE82EF95);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* The share of all rows that the first i + 1 tenants have, by Zipf's law. */
static double *
share_out(int tenants, double exponent)
{
	double *shares = calloc((size_t) tenants, sizeof(double));
	double	sum = 0;
	int		i;

	if (shares == NULL)
		smem_die("out of memory", "tenants");
	for (i = 0; i < tenants; i++)
		shares[i] = sum += pow(i + 1, -exponent);
	for (i = 0; i < tenants; i++)
		shares[i] /= sum;
	return shares;
}

static int
draw(const double *shares, int tenants, uint64_t dice)
{
	double place = (double) (dice >> 11) / (double) (UINT64_C(1) << 53);
	int	   low = 0;
	int	   high = tenants - 1;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (shares[middle] > place)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* By turns, or by Zipf's law: then the tenant with the number 0 has most. */
static void
choose_session(const RowPlan *plan, const double *shares, long i, int *tenant, long *session)
{
	*tenant = (int) (i % plan->tenants);
	*session = i / plan->tenants % plan->sessions;
	if (shares)
	{
		*tenant = draw(shares, plan->tenants, smem_mix(plan->seed, (uint64_t) i));
		*session = (long) (smem_mix(plan->seed + 1, (uint64_t) i) % (uint64_t) plan->sessions);
	}
}

/* Varied on purpose: escapes, other scripts, numbers whose spelling counts. */
void
smem_rows_make(Rows *rows, const RowPlan *plan, long n)
{
	static const char *const flavours[] = {"plain",
										   "quote \\\" backslash \\\\ slash /",
										   "na\\u00efve \xe2\x82\xac \xe6\x97\xa5\xe6\x9c\xac",
										   "tab\\tnewline\\nend",
										   "\xf0\x9f\x98\x80 \\ud83d\\ude00",
										   "{\\\"not\\\": \\\"json\\\"}"};
	char					*text = malloc((size_t) plan->payload_bytes + 1024);
	char					*pad = malloc((size_t) plan->payload_bytes + 1);
	double					*shares = plan->zipf > 0 ? share_out(plan->tenants, plan->zipf) : NULL;
	long					 i;

	memset(pad, 'x', (size_t) plan->payload_bytes);
	pad[plan->payload_bytes] = '\0';
	for (i = 0; i < n; i++)
	{
		Row *row = add_row(rows);
		char name[64];
		int	 tenant;
		long session;

		choose_session(plan, shares, i, &tenant, &session);
		snprintf(name, sizeof(name), "t%d", tenant);
		row->tenant = strdup(name);
		snprintf(name, sizeof(name), "s%ld", session);
		row->session = strdup(name);
		sprintf(
			text,
			"{\"type\":\"message\",\"role\":\"%s\",\"id\":\"%s-%ld\",\"tenant\":\"%s\","
			"\"session_id\":\"%s\",\"content\":\"%s %ld %s\",\"figures\":[%ld,1.50,-0.0,1e2,%ld.25],"
			"\"metadata\":{\"timestamp\":%ld}}",
			i % 2 ? "assistant" : "user", plan->run, i, row->tenant, row->session, flavours[i % 6],
			i, pad, i, i, 1700000000 + i);
		row->payload = strdup(text);
	}
	free(shares);
	free(text);
	free(pad);
}
