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
 * Which rows are rolled back, are written beside a savepoint that is, go in
 * two phases, or are committed late, depends on seed and row alone.  What is
 * undone with a savepoint is in no line: who delivers it has invented it.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "text.h"
#include "writer.h"

#define LINE_BYTES_MAX ((size_t) 16 * 1024 * 1024)

/* How a row is written; the places of Writer.percent. */
typedef enum Manner
{
	MANNER_ROLLBACK,
	MANNER_SAVEPOINT, /* after another row that a savepoint undoes */
	MANNER_TWO_PHASE, /* every fourth of these is rolled back in the end */
	MANNER_LATE,	  /* committed after a while */
	MANNER_PLAIN	  /* what is left of 100 % */
} Manner;

typedef struct Writer
{
	const char	   *conninfo;
	const char	   *input;
	const char	   *log_path;
	RowPlan			plan;
	int				connections;
	double			percent[MANNER_PLAIN];
	double			late_s;		/* the longest that a late commit waits */
	int				patience_s; /* how long a lost server is waited for */
	double			rate;		/* rows a second, 0: as fast as they go */
	double			seconds;	/* spreads all rows over this time */
	double			until;		/* no further row is begun so long after the start; 0: all are */
	bool			retries;	/* an unknown outcome is asked for again with the same key */
	Rows			rows;
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

void
smem_die(const char *what, const char *detail)
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

/* --- the next row -------------------------------------------------------- */

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

static Manner
manner_of(const Writer *writer, long n)
{
	double dice = (double) (smem_mix(writer->plan.seed + 2, (uint64_t) n) % 10000) / 100.0;
	int	   manner;

	for (manner = 0; manner < MANNER_PLAIN; manner++)
	{
		if (dice < writer->percent[manner])
			break;
		dice -= writer->percent[manner];
	}
	return (Manner) manner;
}

/* Waits for a row's time; false when the writer's time is over before it. */
static bool
wait_until_due(const Writer *writer, long n)
{
	double due = 0;

	if (writer->rate > 0)
		due = writer->started + (double) n / writer->rate;
	else if (writer->seconds > 0)
		due = writer->started + (double) n * writer->seconds / (double) writer->rows.n;
	if (writer->until > 0 &&
		(due > seconds_now() ? due : seconds_now()) > writer->started + writer->until)
		return false;
	pause_for(due - seconds_now());
	return true;
}

/* Takes the next row and waits until it is due; false when there is none. */
static bool
take_row(Writer *writer, Call *call)
{
	memset(call, 0, sizeof(*call));
	pthread_mutex_lock(&writer->lock);
	call->n = writer->next;
	if (writer->next < writer->rows.n)
		writer->next++;
	pthread_mutex_unlock(&writer->lock);
	if (call->n >= writer->rows.n || !wait_until_due(writer, call->n))
		return false;
	pthread_mutex_lock(&writer->lock);
	call->row = &writer->rows.row[call->n];
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

/* --- writing ------------------------------------------------------------- */

/* Connects anew where the connection is lost, for as long as the writer is patient. */
static void
stay_connected(const Writer *writer, PGconn **conn)
{
	double end = seconds_now() + writer->patience_s;

	while (PQstatus(*conn) != CONNECTION_OK)
	{
		if (seconds_now() > end)
			smem_die("could not connect", PQerrorMessage(*conn));
		PQfinish(*conn);
		*conn = PQconnectdb(writer->conninfo);
		if (PQstatus(*conn) != CONNECTION_OK)
			pause_for(0.1);
	}
}

/* What an answer without rows or the word that was hoped for means. */
static State
state_of_failure(PGconn *conn, const PGresult *result, long n)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQstatus(conn) == CONNECTION_BAD)
		return STATE_UNKNOWN;
	fprintf(stderr, "writer: row %ld: %s", n, PQerrorMessage(conn));
	/* A dying server may say so after it committed, or say nothing. */
	return !sqlstate || strncmp(sqlstate, "57P", 3) == 0 ? STATE_UNKNOWN : STATE_FAILED;
}

/* Runs a command that returns no rows; sqlstate, where wanted, gets 6 bytes. */
static State
run_command(PGconn *conn, const char *sql, long n, char *sqlstate)
{
	PGresult   *result = PQexec(conn, sql);
	const char *found = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	State		state = STATE_ACKED;

	/* COMMIT of a transaction that failed says ROLLBACK, and that without an error. */
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		state = state_of_failure(conn, result, n);
	else if (strcmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		state = STATE_FAILED;
	if (sqlstate)
		snprintf(sqlstate, 6, "%s", found ? found : "");
	PQclear(result);
	return state;
}

static void
read_receipt(Call *call, const PGresult *result)
{
	snprintf(call->id, sizeof(call->id), "%s", PQgetvalue(result, 0, 0));
	snprintf(call->key, sizeof(call->key), "%s", PQgetvalue(result, 0, 1));
	call->deduplicated = PQgetvalue(result, 0, 2)[0] == 't';
}

static State
write_payload(PGconn *conn, Call *call, const char *payload)
{
	PGresult *result = PQexecParams(conn,
									"SELECT id, idempotency_key, deduplicated"
									" FROM somamem.memory_write($1::jsonb)",
									1, NULL, &payload, NULL, NULL, 0);
	State	  state = STATE_ACKED;

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		read_receipt(call, result);
	else
		state = state_of_failure(conn, result, call->n);
	PQclear(result);
	return state;
}

static State
write_and_roll_back(PGconn *conn, Call *call)
{
	State state;

	run_command(conn, "BEGIN", call->n, NULL);
	state = write_payload(conn, call, call->row->payload);
	run_command(conn, "ROLLBACK", call->n, NULL);
	/* Whatever became of the connection, it was never committed. */
	return state == STATE_FAILED ? STATE_FAILED : STATE_ROLLEDBACK;
}

/* The row's payload with a content of its own, and so another key. */
static char *
undone_payload(const Call *call)
{
	const char *rest = strstr(call->row->payload, "\"id\":\"");
	char	   *payload = malloc(strlen(call->row->payload) + 64);

	if (payload == NULL)
		smem_die("out of memory", "a payload");
	if (rest == NULL)
		strcpy(payload, "{\"type\":\"message\",\"role\":\"user\",\"content\":\"undone\"}");
	else
		sprintf(payload, "%.*s\"id\":\"undone-%s", (int) (rest - call->row->payload),
				call->row->payload, rest + strlen("\"id\":\""));
	return payload;
}

/* The caller begins and ends the transaction. */
static State
write_beside_undone(PGconn *conn, Call *call)
{
	char *undone = undone_payload(call);
	State state = run_command(conn, "SAVEPOINT s", call->n, NULL);

	if (state == STATE_ACKED)
		state = write_payload(conn, call, undone);
	call->id[0] = call->key[0] = '\0'; /* the other row's */
	if (state == STATE_ACKED)
		state = run_command(conn, "ROLLBACK TO s", call->n, NULL);
	if (state == STATE_ACKED)
		state = write_payload(conn, call, call->row->payload);
	free(undone);
	return state;
}

static State
write_in_transaction(const Writer *writer, PGconn *conn, Call *call, Manner manner)
{
	uint64_t dice = smem_mix(writer->plan.seed + 3, (uint64_t) call->n);
	State	 state = run_command(conn, "BEGIN", call->n, NULL);

	if (state == STATE_ACKED && manner == MANNER_SAVEPOINT)
		state = write_beside_undone(conn, call);
	else if (state == STATE_ACKED)
		state = write_payload(conn, call, call->row->payload);
	if (state == STATE_ACKED && manner == MANNER_LATE)
		pause_for(writer->late_s * (double) (dice % 1000) / 1000);
	if (state == STATE_ACKED)
		return run_command(conn, "COMMIT", call->n, NULL);
	run_command(conn, "ROLLBACK", call->n, NULL);
	return state;
}

/*
 * Ends a prepared transaction, over any number of connections.
 *
 * After a lost answer, "no such transaction" says that it is done, or that it
 * never was prepared; both end the matter.
 */
static State
end_prepared(const Writer *writer, PGconn **conn, const Call *call, const char *command, bool asked)
{
	for (;; asked = true)
	{
		char  sqlstate[6];
		State state = run_command(*conn, command, call->n, sqlstate);

		if (state == STATE_ACKED || (asked && strcmp(sqlstate, "42704") == 0))
			return STATE_ACKED;
		if (state == STATE_FAILED)
			return STATE_FAILED;
		stay_connected(writer, conn);
	}
}

static State
write_in_two_phases(const Writer *writer, PGconn **conn, Call *call, int attempt)
{
	bool  rolls_back = smem_mix(writer->plan.seed + 4, (uint64_t) call->n) % 4 == 0;
	char  gid[200];
	char  command[256];
	State state = run_command(*conn, "BEGIN", call->n, NULL);

	snprintf(gid, sizeof(gid), "%s-%ld-%d", writer->plan.run, call->n, attempt);
	if (state == STATE_ACKED)
		state = write_payload(*conn, call, call->row->payload);
	if (state != STATE_ACKED)
	{
		run_command(*conn, "ROLLBACK", call->n, NULL);
		return state;
	}
	snprintf(command, sizeof(command), "PREPARE TRANSACTION '%s'", gid);
	state = run_command(*conn, command, call->n, NULL);
	if (state == STATE_FAILED)
		return state;
	stay_connected(writer, conn);
	if (state == STATE_UNKNOWN || rolls_back)
	{
		snprintf(command, sizeof(command), "ROLLBACK PREPARED '%s'", gid);
		if (end_prepared(writer, conn, call, command, state == STATE_UNKNOWN) == STATE_FAILED)
			return STATE_FAILED;
		return rolls_back ? STATE_ROLLEDBACK : STATE_UNKNOWN;
	}
	snprintf(command, sizeof(command), "COMMIT PREPARED '%s'", gid);
	return end_prepared(writer, conn, call, command, false);
}

static State
write_row(const Writer *writer, PGconn **conn, Call *call, int attempt)
{
	Manner manner = manner_of(writer, call->n);

	if (manner == MANNER_ROLLBACK)
		return write_and_roll_back(*conn, call);
	if (manner == MANNER_TWO_PHASE)
		return write_in_two_phases(writer, conn, call, attempt);
	if (manner == MANNER_PLAIN)
		return write_payload(*conn, call, call->row->payload);
	return write_in_transaction(writer, *conn, call, manner);
}

static void *
run_connection(void *arg)
{
	Writer *writer = arg;
	PGconn *conn = PQconnectdb(writer->conninfo);
	SmemBuf line;
	Call	call;

	smem_buf_init(&line, LINE_BYTES_MAX);
	stay_connected(writer, &conn);
	while (take_row(writer, &call))
	{
		int attempt = 0;

		do
		{
			call.state = write_row(writer, &conn, &call, attempt++);
			stay_connected(writer, &conn);
		} while (call.state == STATE_UNKNOWN && writer->retries);
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
			smem_die("could not start", "a thread");
	for (i = 0; i < writer->connections; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

/* --- options ------------------------------------------------------------- */

static void
usage(void)
{
	fputs("usage: writer -d CONNINFO -l LOG (-i CONVERSATION | -n ROWS) [-c CONNECTIONS]\n"
		  "              [-s SECONDS | -R ROWS_PER_SECOND] [-t SECONDS] [-r] [-w PATIENCE_S]\n"
		  "              [-x ROLLBACK_PERCENT] [-v SAVEPOINT_PERCENT] [-2 TWO_PHASE_PERCENT]\n"
		  "              [-L LATE_PERCENT] [-h LATE_SECONDS] [-u RUN] [-T TENANTS] [-z ZIPF]\n"
		  "              [-S SESSIONS_PER_TENANT] [-p PAYLOAD_BYTES] [-e SEED]\n",
		  stderr);
	exit(2);
}

/* Options that say how rows are written; false for any other. */
static bool
take_manner(Writer *writer, int option, const char *value)
{
	if (option == 'x')
		writer->percent[MANNER_ROLLBACK] = atof(value);
	else if (option == 'v')
		writer->percent[MANNER_SAVEPOINT] = atof(value);
	else if (option == '2')
		writer->percent[MANNER_TWO_PHASE] = atof(value);
	else if (option == 'L')
		writer->percent[MANNER_LATE] = atof(value);
	else if (option == 'h')
		writer->late_s = atof(value);
	else
		return false;
	return true;
}

/* Options of made-up rows; false for any other. */
static bool
take_plan(RowPlan *plan, int option, const char *value)
{
	if (option == 'T')
		plan->tenants = atoi(value);
	else if (option == 'S')
		plan->sessions = atoi(value);
	else if (option == 'p')
		plan->payload_bytes = atoi(value);
	else if (option == 'u')
		plan->run = value;
	else if (option == 'z')
		plan->zipf = atof(value);
	else if (option == 'e')
		plan->seed = strtoull(value, NULL, 10);
	else
		return false;
	return true;
}

static long
read_options(Writer *writer, int argc, char **argv)
{
	long made_up = 0;
	int	 option;

	while ((option = getopt(argc, argv, "d:l:i:n:c:s:R:t:rw:x:v:2:L:h:T:S:p:u:z:e:")) >= 0)
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
		else if (option == 't')
			writer->until = atof(optarg);
		else if (option == 'r')
			writer->retries = true;
		else if (option == 'w')
			writer->patience_s = atoi(optarg);
		else if (!take_manner(writer, option, optarg) && !take_plan(&writer->plan, option, optarg))
			usage();
	}
	if (writer->conninfo == NULL || writer->log_path == NULL || writer->connections < 1 ||
		writer->plan.tenants < 1 || writer->plan.sessions < 1 ||
		(writer->input == NULL) == (made_up == 0))
		usage();
	return made_up;
}

int
main(int argc, char **argv)
{
	RowPlan plan = {.run = "m", .tenants = 4, .sessions = 5, .payload_bytes = 100, .seed = 1};
	Writer	writer = {.connections = 1, .patience_s = 60, .late_s = 5, .plan = plan};
	long	made_up = read_options(&writer, argc, argv);
	double	took;

	if (writer.input)
		smem_rows_read(&writer.rows, writer.input);
	else
		smem_rows_make(&writer.rows, &writer.plan, made_up);
	writer.log = fopen(writer.log_path, "a");
	if (writer.log == NULL)
		smem_die("could not open", writer.log_path);
	run(&writer);
	took = seconds_now() - writer.started;
	printf(
		"rows %ld acked %ld unknown %ld failed %ld rolledback %ld seconds %.2f rows_per_s %.0f\n",
		writer.rows.n, writer.count[STATE_ACKED], writer.count[STATE_UNKNOWN],
		writer.count[STATE_FAILED], writer.count[STATE_ROLLEDBACK], took,
		(double) writer.rows.n / took);
	return writer.count[STATE_FAILED] > 0;
}
