/*
 * Writes at a steady pace and notes when each commit returned.
 *
 * One group of connections only writes; the other waits for each row that it
 * wrote, with somamem.wait_for.  A line a row on standard output: id,
 * microseconds since the Unix epoch when the commit returned, and the same when
 * wait_for returned (0: not waited for).  A row is due at its place in the
 * pace whatever became of the one before; connections of a group take turns,
 * and the first row is due when all connections are open.  With -u nothing is
 * prepared, as a pool of connections by transaction asks for.
 */
#include <getopt.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAYLOAD_BYTES 640
#define SESSIONS 1000
#define STACK_BYTES ((size_t) 256 * 1024)

static const char write_sql[] = "SELECT id FROM somamem.memory_write($1::jsonb)";
static const char wait_sql[] = "SELECT somamem.wait_for($1::bigint)";

static pthread_barrier_t all_open;

typedef struct Note
{
	char	id[24];
	int64_t committed_us;
	int64_t seen_us;
} Note;

typedef struct Group
{
	const char	   *conninfo;
	bool			waits;
	bool			unprepared;
	int				connections;
	double			rate;
	long			rows;
	long			next; /* under lock */
	int64_t		   *began_us;
	Note		   *notes;
	pthread_mutex_t lock;
	pthread_t	   *threads;
} Group;

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "pace: %s: %s\n", what, detail);
	exit(1);
}

static void
sleep_until(int64_t at_us)
{
	struct timespec at = {at_us / 1000000, at_us % 1000000 * 1000};

	clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL);
}

static PGconn *
open_connection(const Group *group)
{
	PGconn *conn = PQconnectdb(group->conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
	if (!group->unprepared)
	{
		PQclear(PQprepare(conn, "write", write_sql, 0, NULL));
		PQclear(PQprepare(conn, "wait", wait_sql, 0, NULL));
	}
	return conn;
}

static void
run(const Group *group, PGconn *conn, bool waits, const char *argument, char *answer, size_t size)
{
	const char *statement = waits ? "wait" : "write";
	PGresult   *result =
		  group->unprepared
			  ? PQexecParams(conn, waits ? wait_sql : write_sql, 1, NULL, &argument, NULL, NULL, 0)
			  : PQexecPrepared(conn, statement, 1, &argument, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
		die(statement, PQerrorMessage(conn));
	snprintf(answer, size, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
}

static void
write_row(const Group *group, PGconn *conn, long n)
{
	Note *note = &group->notes[n];
	char  payload[PAYLOAD_BYTES];
	char  answer[8];

	snprintf(payload, sizeof(payload),
			 "{\"type\": \"message\", \"role\": \"user\", \"tenant\": \"acme\", \"session_id\": "
			 "\"session-%ld\", "
			 "\"persona_id\": \"persona-3\", \"content\": \"I went to the support group yesterday "
			 "and it was "
			 "so powerful; the stories that people told were inspiring.\", \"metadata\": "
			 "{\"channel\": \"web\", "
			 "\"language\": \"en\", \"importance\": 0.5}, \"turn\": %ld}",
			 n % SESSIONS, n);
	run(group, conn, false, payload, note->id, sizeof(note->id));
	note->committed_us = now_us();
	if (!group->waits)
		return;
	run(group, conn, true, note->id, answer, sizeof(answer));
	if (answer[0] != 't')
		die("not delivered", note->id);
	note->seen_us = now_us();
}

static void *
run_connection(void *arg)
{
	Group  *group = arg;
	PGconn *conn = open_connection(group);

	pthread_barrier_wait(&all_open);
	/* Between the two, main sets the time at which it begins. */
	pthread_barrier_wait(&all_open);
	for (;;)
	{
		long n;

		pthread_mutex_lock(&group->lock);
		n = group->next++;
		pthread_mutex_unlock(&group->lock);
		if (n >= group->rows)
			break;
		sleep_until(*group->began_us + (int64_t) ((double) n * 1e6 / group->rate));
		write_row(group, conn, n);
	}
	PQfinish(conn);
	return NULL;
}

static void
start(Group *group, double seconds, int64_t *began_us)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	group->rows = (long) (group->rate * seconds);
	group->began_us = began_us;
	group->notes = calloc((size_t) group->rows + 1, sizeof(Note));
	group->threads = calloc((size_t) group->connections + 1, sizeof(pthread_t));
	if (group->notes == NULL || group->threads == NULL)
		die("out of memory", "");
	pthread_mutex_init(&group->lock, NULL);
	for (int i = 0; i < group->connections; i++)
		if (pthread_create(&group->threads[i], &attributes, run_connection, group) != 0)
			die("could not start", "a thread");
}

static void
finish(Group *group)
{
	for (int i = 0; i < group->connections; i++)
		pthread_join(group->threads[i], NULL);
	for (long n = 0; n < group->rows; n++)
		printf("%s %lld %lld\n", group->notes[n].id, (long long) group->notes[n].committed_us,
			   (long long) group->notes[n].seen_us);
	free(group->notes);
	free(group->threads);
}

int
main(int argc, char **argv)
{
	Group	writers = {.connections = 4, .rate = 450};
	Group	waiters = {.connections = 4, .rate = 50, .waits = true};
	double	seconds = 10;
	int64_t began_us = 0;
	int		option;

	while ((option = getopt(argc, argv, "d:s:c:r:C:R:u")) >= 0)
	{
		if (option == 'd')
			writers.conninfo = waiters.conninfo = optarg;
		else if (option == 's')
			seconds = atof(optarg);
		else if (option == 'c')
			writers.connections = atoi(optarg);
		else if (option == 'r')
			writers.rate = atof(optarg);
		else if (option == 'C')
			waiters.connections = atoi(optarg);
		else if (option == 'R')
			waiters.rate = atof(optarg);
		else if (option == 'u')
			writers.unprepared = waiters.unprepared = true;
		else
			die("usage",
				"pace -d CONNINFO [-s SECONDS] [-c WRITERS] [-r RATE] [-C WAITERS] [-R RATE] [-u]");
	}
	if (writers.conninfo == NULL || writers.rate < 0 || waiters.rate < 0)
		die("no -d CONNINFO", "or a rate out of range");
	pthread_barrier_init(&all_open, NULL,
						 (unsigned) (writers.connections + waiters.connections + 1));
	start(&writers, seconds, &began_us);
	start(&waiters, seconds, &began_us);
	pthread_barrier_wait(&all_open);
	began_us = now_us();
	pthread_barrier_wait(&all_open);
	finish(&writers);
	finish(&waiters);
	return 0;
}
