/*
 * Writes memories through somamem.memory_write and keeps a log of what each call came to.
 *
 * The log is what the history checker holds against the sinks, a JSON object a line:
 *
 *   {"n","begin","end","state","id","tenant","session","key","deduplicated","payload"}
 *
 * begin and end count the events of all connections, so A was acknowledged
 * before B began exactly when A.end < B.begin.  state is "acked", "unknown"
 * (the connection broke: committed or not), "failed" (refused), or
 * "rolledback".  A line is in the file before its connection goes on.
 *
 * Rows come from a file of conversation turns (one JSON object a line with
 * conversation, session, date_time, turn, speaker, text) or are made up.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <libpq-fe.h>

#include "text.h"

#define LINE_BYTES_MAX ((size_t) 16 * 1024 * 1024)

typedef struct Row
{
	char *tenant;
	char *session;
	char *payload;
} Row;

typedef struct Writer
{
	const char	   *conninfo;
	const char	   *input;
	const char	   *log_path;
	const char	   *run; /* makes made-up ids of this run unique */
	int				connections;
	int				tenants;  /* of made-up rows */
	int				sessions; /* a tenant has, of made-up rows */
	int				payload_bytes;
	int				rollback_percent;
	int				patience_s; /* how long a lost server is waited for */
	double			rate;		/* rows a second, 0: as fast as they go */
	double			seconds;	/* spreads all rows over this time */
	bool			retries;	/* an unknown outcome is asked for again with the same key */
	Row			   *rows;
	long			n;
	long			size;
	long			next; /* the first row that no connection took */
	long			events;
	long			count[4]; /* by State */
	double			started;
	FILE		   *log;
	pthread_mutex_t lock;
} Writer;

typedef enum State
{
	STATE_ACKED,
	STATE_UNKNOWN,
	STATE_FAILED,
	STATE_ROLLEDBACK
} State;

static const char *const state_names[] = {"acked", "unknown", "failed", "rolledback"};

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "writer: %s: %s\n", what, detail);
	exit(1);
}

static double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void
pause_for(double seconds)
{
	struct timespec left = {(time_t) seconds, (long) ((seconds - (double) (time_t) seconds) * 1e9)};

	if (seconds > 0)
		nanosleep(&left, NULL);
}

static Row *
add_row(Writer *writer)
{
	if (writer->n == writer->size)
	{
		writer->size = writer->size ? writer->size * 2 : 1024;
		writer->rows = realloc(writer->rows, (size_t) writer->size * sizeof(Row));
		if (writer->rows == NULL)
			die("out of memory", "rows");
	}
	return &writer->rows[writer->n++];
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
take_turn(Writer *writer, Reader *reader, struct json_object *turn)
{
	struct json_object *payload = json_object_new_object();
	struct json_object *metadata = json_object_new_object();
	Row				   *row = add_row(writer);
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

static void
read_conversation(Writer *writer)
{
	FILE  *file = fopen(writer->input, "r");
	Reader reader = {.place = -1};
	char  *line = NULL;
	size_t size = 0;

	if (file == NULL)
		die("could not open", writer->input);
	while (getline(&line, &size, file) > 0)
	{
		struct json_object *turn = json_tokener_parse(line);

		if (!json_object_is_type(turn, json_type_object))
			die("a line is not a JSON object", writer->input);
		if (member(turn, "text")[0] != '\0')
			take_turn(writer, &reader, turn);
		json_object_put(turn);
	}
	free(line);
	fclose(file);
}

/* --- made-up rows -------------------------------------------------------- */

/* Varied on purpose: escapes, other scripts, numbers whose spelling counts. */
static void
make_rows(Writer *writer, long n)
{
	static const char *const flavours[] = {"plain",
										   "quote \\\" backslash \\\\ slash /",
										   "na\\u00efve \xe2\x82\xac \xe6\x97\xa5\xe6\x9c\xac",
										   "tab\\tnewline\\nend",
										   "\xf0\x9f\x98\x80 \\ud83d\\ude00",
										   "{\\\"not\\\": \\\"json\\\"}"};
	char					*text = malloc((size_t) writer->payload_bytes + 1024);
	char					*pad = malloc((size_t) writer->payload_bytes + 1);
	long					 i;

	memset(pad, 'x', (size_t) writer->payload_bytes);
	pad[writer->payload_bytes] = '\0';
	for (i = 0; i < n; i++)
	{
		Row *row = add_row(writer);
		char name[64];

		snprintf(name, sizeof(name), "t%ld", i % writer->tenants);
		row->tenant = strdup(name);
		snprintf(name, sizeof(name), "s%ld", i / writer->tenants % writer->sessions);
		row->session = strdup(name);
		sprintf(
			text,
			"{\"type\":\"message\",\"role\":\"%s\",\"id\":\"%s-%ld\",\"tenant\":\"%s\","
			"\"session_id\":\"%s\",\"content\":\"%s %ld %s\",\"figures\":[%ld,1.50,-0.0,1e2,%ld.25],"
			"\"metadata\":{\"timestamp\":%ld}}",
			i % 2 ? "assistant" : "user", writer->run, i, row->tenant, row->session,
			flavours[i % 6], i, pad, i, i, 1700000000 + i);
		row->payload = strdup(text);
	}
	free(text);
	free(pad);
}

/* --- writing ------------------------------------------------------------- */

typedef struct Call
{
	const Row *row;
	long	   n;
	long	   begin;
	State	   state;
	char	   id[32];
	char	   key[2048];
	bool	   deduplicated;
} Call;

/* Takes the next row and waits until it is due; false when there is none. */
static bool
take_row(Writer *writer, Call *call)
{
	double due = 0;

	memset(call, 0, sizeof(*call));
	pthread_mutex_lock(&writer->lock);
	call->n = writer->next;
	if (writer->next < writer->n)
		writer->next++;
	pthread_mutex_unlock(&writer->lock);
	if (call->n >= writer->n)
		return false;
	if (writer->rate > 0)
		due = writer->started + (double) call->n / writer->rate;
	else if (writer->seconds > 0)
		due = writer->started + (double) call->n * writer->seconds / (double) writer->n;
	pause_for(due - seconds_now());
	pthread_mutex_lock(&writer->lock);
	call->row = &writer->rows[call->n];
	call->begin = ++writer->events;
	pthread_mutex_unlock(&writer->lock);
	return true;
}

static void
log_call(Writer *writer, const Call *call, SmemBuf *line)
{
	smem_buf_reset(line);
	smem_buf_printf(line, "\"state\":\"%s\",\"id\":%s,\"tenant\":", state_names[call->state],
					call->id[0] ? call->id : "null");
	smem_text_json(line, smem_slice(call->row->tenant));
	smem_buf_puts(line, ",\"session\":");
	smem_text_json(line, smem_slice(call->row->session));
	smem_buf_puts(line, ",\"key\":");
	smem_text_json(line, smem_slice(call->key[0] ? call->key : NULL));
	smem_buf_printf(line, ",\"deduplicated\":%s,\"payload\":%s}\n",
					call->deduplicated ? "true" : "false", call->row->payload);
	pthread_mutex_lock(&writer->lock);
	writer->count[call->state]++;
	fprintf(writer->log, "{\"n\":%ld,\"begin\":%ld,\"end\":%ld,%s", call->n, call->begin,
			++writer->events, smem_buf_text(line));
	fflush(writer->log);
	pthread_mutex_unlock(&writer->lock);
}

/* Connects anew, for as long as the writer is patient. */
static bool
reconnect(Writer *writer, PGconn **conn)
{
	double end = seconds_now() + writer->patience_s;

	do
	{
		PQfinish(*conn);
		*conn = PQconnectdb(writer->conninfo);
		if (PQstatus(*conn) == CONNECTION_OK)
			return true;
		pause_for(0.1);
	} while (seconds_now() < end);
	return false;
}

static void
read_receipt(Call *call, const PGresult *result)
{
	snprintf(call->id, sizeof(call->id), "%s", PQgetvalue(result, 0, 0));
	snprintf(call->key, sizeof(call->key), "%s", PQgetvalue(result, 0, 1));
	call->deduplicated = PQgetvalue(result, 0, 2)[0] == 't';
}

static State
write_row(PGconn *conn, Call *call)
{
	const char *values[] = {call->row->payload};
	PGresult   *result = PQexecParams(conn,
									  "SELECT id, idempotency_key, deduplicated"
										" FROM somamem.memory_write($1::jsonb)",
									  1, NULL, values, NULL, NULL, 0);
	State		state = STATE_ACKED;

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		read_receipt(call, result);
	else if (PQstatus(conn) == CONNECTION_BAD)
		state = STATE_UNKNOWN;
	else
	{
		const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		/* A dying server may say so after it committed, or say nothing. */
		state = !sqlstate || strncmp(sqlstate, "57P", 3) == 0 ? STATE_UNKNOWN : STATE_FAILED;
		fprintf(stderr, "writer: row %ld: %s", call->n, PQerrorMessage(conn));
	}
	PQclear(result);
	return state;
}

static State
write_and_roll_back(PGconn *conn, Call *call)
{
	State state;

	PQclear(PQexec(conn, "BEGIN"));
	state = write_row(conn, call);
	PQclear(PQexec(conn, "ROLLBACK"));
	/* Whatever became of the connection, it was never committed. */
	return state == STATE_FAILED ? STATE_FAILED : STATE_ROLLEDBACK;
}

static void *
run_connection(void *arg)
{
	Writer	*writer = arg;
	PGconn	*conn = PQconnectdb(writer->conninfo);
	unsigned dice = (unsigned) (uintptr_t) &conn;
	SmemBuf	 line;
	Call	 call;

	smem_buf_init(&line, LINE_BYTES_MAX);
	if (PQstatus(conn) != CONNECTION_OK && !reconnect(writer, &conn))
		die("could not connect", PQerrorMessage(conn));
	while (take_row(writer, &call))
	{
		if (rand_r(&dice) % 100 < writer->rollback_percent)
			call.state = write_and_roll_back(conn, &call);
		else
			do
			{
				call.state = write_row(conn, &call);
				if (PQstatus(conn) == CONNECTION_BAD && !reconnect(writer, &conn))
					die("could not connect again", PQerrorMessage(conn));
			} while (call.state == STATE_UNKNOWN && writer->retries);
		if (PQstatus(conn) == CONNECTION_BAD && !reconnect(writer, &conn))
			die("could not connect again", PQerrorMessage(conn));
		log_call(writer, &call, &line);
	}
	smem_buf_free(&line);
	PQfinish(conn);
	return NULL;
}

static void
run(Writer *writer)
{
	pthread_t *threads = calloc((size_t) writer->connections, sizeof(pthread_t));
	int		   i;

	pthread_mutex_init(&writer->lock, NULL);
	writer->started = seconds_now();
	for (i = 0; i < writer->connections; i++)
		if (pthread_create(&threads[i], NULL, run_connection, writer) != 0)
			die("could not start", "a thread");
	for (i = 0; i < writer->connections; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

static void
usage(void)
{
	fputs(
		"usage: writer -d CONNINFO -l LOG (-i CONVERSATION | -n ROWS) [-c CONNECTIONS]\n"
		"              [-s SECONDS | -R ROWS_PER_SECOND] [-r] [-x ROLLBACK_PERCENT] [-w PATIENCE_S]\n"
		"              [-T TENANTS] [-S SESSIONS_PER_TENANT] [-p PAYLOAD_BYTES] [-u RUN]\n",
		stderr);
	exit(2);
}

static long
read_options(Writer *writer, int argc, char **argv)
{
	long made_up = 0;
	int	 option;

	while ((option = getopt(argc, argv, "d:l:i:n:c:s:R:rx:w:T:S:p:u:")) >= 0)
	{
		if (option == 'd')
			writer->conninfo = optarg;
		else if (option == 'l')
			writer->log_path = optarg;
		else if (option == 'i')
			writer->input = optarg;
		else if (option == 'n')
			made_up = atol(optarg);
		else if (option == 'c')
			writer->connections = atoi(optarg);
		else if (option == 's')
			writer->seconds = atof(optarg);
		else if (option == 'R')
			writer->rate = atof(optarg);
		else if (option == 'r')
			writer->retries = true;
		else if (option == 'x')
			writer->rollback_percent = atoi(optarg);
		else if (option == 'w')
			writer->patience_s = atoi(optarg);
		else if (option == 'T')
			writer->tenants = atoi(optarg);
		else if (option == 'S')
			writer->sessions = atoi(optarg);
		else if (option == 'p')
			writer->payload_bytes = atoi(optarg);
		else if (option == 'u')
			writer->run = optarg;
		else
			usage();
	}
	if (writer->conninfo == NULL || writer->log_path == NULL || writer->connections < 1 ||
		writer->tenants < 1 || writer->sessions < 1 || (writer->input == NULL) == (made_up == 0))
		usage();
	return made_up;
}

int
main(int argc, char **argv)
{
	Writer writer = {.connections = 1,
					 .tenants = 4,
					 .sessions = 5,
					 .payload_bytes = 100,
					 .patience_s = 60,
					 .run = "m"};
	long   made_up = read_options(&writer, argc, argv);
	double took;

	if (writer.input)
		read_conversation(&writer);
	else
		make_rows(&writer, made_up);
	writer.log = fopen(writer.log_path, "a");
	if (writer.log == NULL)
		die("could not open", writer.log_path);
	run(&writer);
	took = seconds_now() - writer.started;
	printf(
		"rows %ld acked %ld unknown %ld failed %ld rolledback %ld seconds %.2f rows_per_s %.0f\n",
		writer.n, writer.count[STATE_ACKED], writer.count[STATE_UNKNOWN],
		writer.count[STATE_FAILED], writer.count[STATE_ROLLEDBACK], took, (double) writer.n / took);
	return writer.count[STATE_FAILED] > 0;
}
