/*
 * Sessions that ask the courier for decisions: many of them, those who leave,
 * those who talk nonsense; whose turn it is, and when time is over.
 */
#include "opa_bed.h"

#define MANY 1000

/* knob 0: allow; 1: nothing is answered.  A bed notes each request's input as its first row. */
static Reply
answer(Bed *bed, const Ask *ask)
{
	if (!is_check(ask) && bed->knob == 1)
		return (Reply){.manner = HANG};
	return say("{\"result\": true}");
}

static void
check_many(void)
{
	static Client clients[MANY];
	Bed			 *bed = opa_start(answer, 0, "10000");
	int			  allowed = 0;
	int			  connected = 0;

	for (int i = 0; i < MANY; i++)
	{
		clients[i] = client_start(bed);
		connected += clients[i].fd >= 0;
	}
	tap_is_int(connected, MANY, "a thousand sessions connect");
	for (uint32_t i = 0; i < MANY; i++)
		client_ask(&clients[i], i, 10000, "{\"action\": \"x\"}");
	tap_ok(OPA_UNTIL(bed, clients, MANY, answered == MANY), "and all have an answer");
	for (int i = 0; i < MANY; i++)
		allowed += answers[i].count == 1 && answers[i].verdict == SMEM_VERDICT_ALLOW;
	tap_is_int(allowed, MANY, "each its own");
	tap_ok(bed->busiest <= 16, "over no more than 16 connections: %d", bed->busiest);
	for (int i = 0; i < MANY; i++)
		client_close(&clients[i]);
	bed_stop(bed);
}

/* More on one connection than may wait at once. */
static void
check_pipeline(void)
{
	Bed	  *bed = opa_start(answer, 0, "10000");
	Client client = client_start(bed);
	int	   once = 0;

	for (int i = 0; i < 1000; i++)
	{
		client_ask(&client, (uint32_t) i, 10000, "{}  ");
		/* The courier reads no more than it has room for, and the socket holds little. */
		OPA_UNTIL(bed, &client, 1, i - answered < 100);
	}
	tap_ok(OPA_UNTIL(bed, &client, 1, answered == 1000), "a thousand questions on one connection");
	for (int i = 0; i < 1000; i++)
		once += answers[i].count == 1;
	tap_is_int(once, 1000, "each has one answer");
	client_close(&client);
	bed_stop(bed);
}

/* Sixteen on the wire that nobody answers; the others wait, and their time ends. */
static void
check_time(void)
{
	Bed	   *bed = opa_start(answer, 0, "60000");
	Client	client = client_start(bed);
	int		failed = 0;
	int		asked;
	int64_t begin;

	(void) ask_one(bed, &client, 0, 1000, "{ }");
	bed->knob = 1;
	for (uint32_t i = 1; i <= 16; i++)
		client_ask(&client, i, 60000, "{ }");
	OPA_UNTIL(bed, &client, 1, bed->drive.state.in_flight == 16);
	asked = bed->asked;
	begin = drive_clock_us();
	for (uint32_t i = 20; i < 60; i++)
		client_ask(&client, i, 300, "{ }");
	tap_ok(OPA_UNTIL(bed, &client, 1, answered == 41), "those who wait are answered in time");
	tap_ok(drive_clock_us() - begin < 2000000, "and not when those before them are");
	for (int i = 20; i < 60; i++)
		failed += answers[i].verdict == SMEM_VERDICT_FAILED &&
				  strstr(answers[i].reason, "too many questions") != NULL;
	tap_is_int(failed, 40, "with no decision");
	tap_is_int(bed->asked, asked, "and were never sent");
	client_ask(&client, 70, 0, "{ }");
	tap_ok(OPA_UNTIL(bed, &client, 1, answers[70].verdict == SMEM_VERDICT_FAILED),
		   "no time at all");
	client_close(&client);
	bed_stop(bed);
}

/* Those who leave: what waits is not sent, what is on the wire harms nobody. */
static void
check_leavers(void)
{
	Bed	  *bed = opa_start(answer, 0, "60000");
	Client leaver = client_start(bed);
	Client client = client_start(bed);
	int	   asked;

	(void) ask_one(bed, &leaver, 0, 1000, "{ }");
	bed->knob = 1;
	for (uint32_t i = 1; i <= 40; i++)
		client_ask(&leaver, i, 60000, "{ }");
	OPA_UNTIL(bed, &leaver, 1, bed->drive.state.in_flight == 16 && bed->drive.state.queued == 24);
	tap_is_int(bed->drive.state.queued, 24, "sixteen are on the wire, the others wait");
	asked = bed->asked;
	client_close(&leaver);
	tap_ok(BED_UNTIL(bed, bed->drive.state.queued == 0), "the asker leaves: nothing waits");
	client_ask(&client, 50, 60000, "{ }");
	BED_UNTIL(bed, bed->drive.state.queued == 1);
	bed->knob = 0;
	for (int i = 0; i < BED_CONNS; i++)
	{
		if (bed->conns[i].fd >= 0)
			conn_close(&bed->conns[i]);
	}
	tap_ok(OPA_UNTIL(bed, &client, 1, answers[50].count == 1),
		   "the wire is free again: another's question is answered");
	tap_ok(bed->asked - asked < 24, "what had waited was never sent: %d", bed->asked - asked);
	client_close(&client);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

/* What is no question ends the connection, and nothing else. */
static void
check_nonsense(void)
{
	static const struct
	{
		const char *title;
		const char *bytes;
		size_t		n;
	} nonsense[] = {
		{"text", "GET / HTTP/1.1\r\n\r\n", 18},
		{"a length of zero", "\0\0\0\0", 4},
		{"a huge length", "\xff\xff\xff\xffQ", 5},
		{"a length above the largest", "\x01\x00\x00\x02Q", 5},
		{"another type", "\x0d\0\0\0P\1\0\0\0\1\0\0\0\0\0\0\0", 17},
		{"a string beyond the end", "\x0d\0\0\0Q\1\0\0\0\1\0\0\0\1\0\0\0", 17},
		{"a byte too many", "\x0e\0\0\0Q\1\0\0\0\1\0\0\0\0\0\0\0x", 18},
		{"no input", "\x0d\0\0\0Q\1\0\0\0\1\0\0\0\xff\xff\xff\xff", 17},
	};
	Bed	  *bed = opa_start(answer, 0, "1000");
	Client good = client_start(bed);

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
	{
		Client bad = client_start(bed);

		client_send(&bad, nonsense[i].bytes, nonsense[i].n);
		tap_ok(OPA_UNTIL(bed, &bad, 1, bad.over), "%s: the connection ends", nonsense[i].title);
		client_close(&bad);
	}
	tap_is_int(ask_one(bed, &good, 1, 1000, "{}")->verdict, SMEM_VERDICT_ALLOW,
			   "others are answered as before");
	client_close(&good);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

/* Frames that come byte by byte, and one that never comes to its end. */
static void
check_slow(void)
{
	Bed	   *bed = opa_start(answer, 0, "1000");
	Client	half = client_start(bed);
	Client	slow = client_start(bed);
	SmemAsk ask = {.number = 1, .timeout_ms = 1000, .input = smem_str("{}")};
	SmemBuf buf;

	smem_buf_init(&buf, 65536);
	smem_frame_ask(&buf, &ask);
	client_send(&half, smem_buf_head(&buf), smem_buf_len(&buf) - 1);
	for (size_t i = 0; i < smem_buf_len(&buf); i++)
	{
		client_send(&slow, smem_buf_head(&buf) + i, 1);
		bed_turn(bed, 1);
	}
	tap_ok(OPA_UNTIL(bed, &slow, 1, answers[1].count == 1), "byte by byte is a question, too");
	tap_is_int(bed->drive.state.queued, 0, "half of one is none");
	client_close(&half);
	client_close(&slow);
	smem_buf_free(&buf);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

static void
check_socket(void)
{
	struct stat file;
	Bed		   *bed;
	Client		client;
	FILE	   *stale = fopen(SMEM_ASK_SOCKET, "w");

	fclose(stale);
	bed = opa_start(answer, 0, "1000");
	client = client_start(bed);
	tap_ok(client.fd >= 0, "what stands in the socket's place is replaced");
	stat(SMEM_ASK_SOCKET, &file);
	tap_ok(S_ISSOCK(file.st_mode) && (file.st_mode & 0777) == 0600, "for the owner alone");
	client_close(&client);
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
	tap_ok(stat(SMEM_ASK_SOCKET, &file) != 0, "and takes it away");
	rmdir("pg_stat_tmp");
	bed = opa_start(answer, 0, "1000");
	tap_ok(BED_UNTIL(bed, strncmp(bed->drive.error, "could not listen", 16) == 0),
		   "without a place for it: %s", bed->drive.error);
	tap_is_int(bed->drive.state.circuit, SMEM_CIRCUIT_OPEN, "the circuit is open");
	mkdir("pg_stat_tmp", 0700);
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED), "until there is one");
	client = client_start(bed);
	tap_is_int(ask_one(bed, &client, 1, 1000, "{}")->verdict, SMEM_VERDICT_ALLOW, "it answers");
	client_close(&client);
	bed_stop(bed);
}

static long
cpu_ticks(pid_t pid)
{
	char  path[64];
	char  text[1024] = "";
	long  user = 0;
	long  system = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	in = fopen(path, "r");
	if (fread(text, 1, sizeof(text) - 1, in) == 0 || strrchr(text, ')') == NULL ||
		sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
			   &user, &system) != 2)
		abort();
	fclose(in);
	return user + system;
}

/* Closes those who have their answer; returns how many have. */
static int
leave_answered(Client *clients, int n)
{
	int left = 0;

	for (int i = 0; i < n; i++)
	{
		if (answers[i].count > 0)
			client_close(&clients[i]);
		left += answers[i].count > 0;
	}
	return left;
}

/* No descriptor is left: who wants to connect waits, and the loop does not turn for it. */
static void
check_no_descriptors(void)
{
	struct rlimit limit = {40, 40};
	Client		  clients[60];
	Bed			 *bed = opa_start(answer, 0, "60000");
	int			  more;
	long		  ticks;

	clients[0] = client_start(bed);
	(void) ask_one(bed, &clients[0], 0, 1000, "{ }");
	if (prlimit(bed->drive.pid, RLIMIT_NOFILE, &limit, NULL) != 0)
		abort();
	for (uint32_t i = 1; i < 60; i++)
	{
		clients[i] = client_start(bed);
		client_ask(&clients[i], i, 60000, "{ }");
	}
	OPA_UNTIL(bed, clients, 60, answered > 10);
	bed_pass(bed, 200);
	more = answered;
	tap_ok(more < 60, "not all are served: %d", more);
	ticks = cpu_ticks(bed->drive.pid);
	bed_pass(bed, 1000);
	tap_ok(cpu_ticks(bed->drive.pid) - ticks < sysconf(_SC_CLK_TCK) / 4,
		   "the courier does not spin");
	tap_ok(OPA_UNTIL(bed, clients, 60, leave_answered(clients, 60) == 60),
		   "where one leaves, another is served");
	tap_is_int(bed_stop(bed), 0, "the courier ends well");
}

int
main(void)
{
	opa_enter();
	check_socket();
	check_many();
	check_pipeline();
	check_time();
	check_leavers();
	check_nonsense();
	check_slow();
	check_no_descriptors();
	opa_leave();
	return tap_done();
}
