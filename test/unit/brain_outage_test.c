/*
 * The sink's trouble: outages of every kind, what is asked of the service
 * meanwhile, how soon rows go afterwards; and the courier as a guest.
 */
#include "brain_bed.h"

#define RECOVERY_US 2000000 /* from the service's return to the first delivery */

typedef struct Trouble
{
	const char *title;
	Reply		reply;
	const char *error; /* begin of the state's last_error */
} Trouble;

static const char *large; /* an answer beyond every ceiling */

static const Trouble troubles[] = {
	{"500", {.manner = ANSWER, .status = 500}, "service answered 500"},
	{"503", {.manner = ANSWER, .status = 503}, "service answered 503"},
	{"408", {.manner = ANSWER, .status = 408}, "service answered 408"},
	{"425", {.manner = ANSWER, .status = 425}, "service answered 425"},
	{"301",
	 {.manner = ANSWER, .status = 301, .headers = "Location: /elsewhere\r\n"},
	 "service answered 301"},
	{"307",
	 {.manner = ANSWER, .status = 307, .headers = "Location: /elsewhere\r\n"},
	 "service answered 307"},
	{"401",
	 {.manner = ANSWER, .status = 401},
	 "service answered 401: it does not accept the token"},
	{"403",
	 {.manner = ANSWER, .status = 403},
	 "service answered 403: it does not accept the token"},
	{"ok: false",
	 {.manner = ANSWER, .status = 200, .body = "{\"ok\": false}"},
	 "service answered \"ok\": false"},
	{"no JSON",
	 {.manner = ANSWER, .status = 200, .body = "hello"},
	 "service answered with something"},
	{"204", {.manner = ANSWER, .status = 204}, "service answered with something"},
	{"no HTTP",
	 {.manner = RAW, .body = "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
	 "connection gave no whole answer"},
	{"half an answer",
	 {.manner = RAW, .body = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"},
	 "connection gave no whole answer"},
	{"a reset", {.manner = RESET}, "connection gave no whole answer"},
	{"silence", {.manner = HANG}, "service did not answer in time"},
	{"an endless answer", {.manner = ANSWER, .status = 200}, "answer of the service is too long"},
};

/* knob: which trouble, -1 for none. */
static Reply
trouble(Bed *bed, const Ask *ask)
{
	Reply reply = {.manner = ACCEPT};

	(void) ask;
	if (bed->knob < 0)
		return reply;
	reply = troubles[bed->knob].reply;
	if (strcmp(troubles[bed->knob].title, "an endless answer") == 0)
	{
		reply.body = large;
		reply.body_len = 9 << 20;
	}
	return reply;
}

static bool
on_wire_at_once(const Bed *bed, int from, int64_t within_us)
{
	for (int i = from + 1; i < bed->asked; i++)
	{
		if (bed->notes[i].at_us - bed->notes[i - 1].at_us < within_us)
			return true;
	}
	return false;
}

static void
check_trouble(int which)
{
	const char *title = troubles[which].title;
	Bed		   *bed = BED_START(trouble, "somabrain_timeout", "300", "retry_initial", "1000");
	int64_t		back;

	bed->knob = -1;
	bed_push_many(bed, 1, 50, "t", 10);
	BED_UNTIL(bed, bed->done == 50);
	bed->knob = which;
	bed_push_many(bed, 51, 250, "t", 10);
	BED_UNTIL(bed, bed->drive.state.circuit != SMEM_CIRCUIT_CLOSED);
	tap_ok(strncmp(bed->drive.error, troubles[which].error, strlen(troubles[which].error)) == 0,
		   "%s: the circuit opens: %s", title, bed->drive.error);
	bed_pass(bed, 500);
	tap_is_int(bed->done, 50, "no row has an outcome");
	bed->knob = -1;
	back = drive_clock_us();
	BED_UNTIL(bed, bed->done > 50);
	tap_ok(drive_clock_us() - back < RECOVERY_US, "the first row goes within two seconds");
	tap_ok(BED_UNTIL(bed, bed->done == 250) && bed_all(bed, 1, 250, 1) && bed_ordered(bed),
		   "then all do, in order");
	tap_ok(BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_CLOSED && !bed->drive.error[0]),
		   "the circuit is closed");
	bed_stop(bed);
}

static void
check_refused(void)
{
	Bed	   *bed = BED_START(NULL, "retry_initial", "1000");
	int64_t back;

	bed_down(bed);
	bed_push_many(bed, 1, 500, "t", 50);
	tap_ok(BED_UNTIL(bed, strncmp(bed->drive.error, "could not reach service", 23) == 0),
		   "refused: %s", bed->drive.error);
	tap_ok(bed->drive.state.queued == 500 && bed->drive.state.next_attempt_us > 0,
		   "refused: rows wait for a known time");
	bed_pass(bed, 1500);
	bed_up(bed);
	back = drive_clock_us();
	BED_UNTIL(bed, bed->done > 0);
	tap_ok(drive_clock_us() - back < RECOVERY_US, "refused: the first row goes within two seconds");
	tap_ok(BED_UNTIL(bed, bed->done == 500) && bed_all(bed, 1, 500, 1) && bed_ordered(bed),
		   "refused: then all do, in order");
	bed_stop(bed);
}

/* A service that used to be quick and falls silent: probes do not wait for the whole timeout. */
static void
check_silence_of_a_quick_one(void)
{
	Bed	   *bed = BED_START(trouble, "somabrain_timeout", "3000", "retry_initial", "1000");
	int64_t back;
	int		asked;

	bed->knob = -1;
	bed_push_many(bed, 1, 50, "t", 10);
	BED_UNTIL(bed, bed->done == 50);
	bed->knob = 14;
	bed_push_many(bed, 51, 100, "t", 10);
	BED_UNTIL(bed, bed->drive.state.circuit != SMEM_CIRCUIT_CLOSED);
	asked = bed->asked;
	/* Just after a probe began to hang: the worst moment to come back. */
	BED_UNTIL(bed, bed->asked > asked + 1);
	bed->knob = -1;
	back = drive_clock_us();
	BED_UNTIL(bed, bed->done > 50);
	tap_ok(drive_clock_us() - back < RECOVERY_US,
		   "a hanging probe is given up early: first row %lld ms after the return",
		   (long long) (drive_clock_us() - back) / 1000);
	BED_UNTIL(bed, bed->done == 100);
	tap_ok(bed_all(bed, 1, 100, 1), "every row goes");
	bed_stop(bed);
}

/* One probe at a time, about one a second, however long it lasts. */
static void
check_probes(void)
{
	Bed *bed = BED_START(trouble, "retry_initial", "1000");
	int	 from;

	bed->knob = 0;
	bed_push_many(bed, 1, 1000, "t", 100);
	BED_UNTIL(bed,
			  bed->drive.state.circuit == SMEM_CIRCUIT_OPEN && bed->drive.state.in_flight == 0);
	from = bed->asked;
	bed_pass(bed, 4000);
	tap_ok(bed->asked - from >= 4 && bed->asked - from <= 30,
		   "an open circuit probes now and then (%d)", bed->asked - from);
	/* Fresh rows take turns with a batch that had failed before. */
	tap_ok(bed->notes[bed->asked - 1].n == 1 || bed->notes[bed->asked - 2].n == 1,
		   "in the end with one row");
	tap_ok(!on_wire_at_once(bed, from, 100), "never two at once");
	bed->knob = -1;
	tap_ok(BED_UNTIL(bed, bed->done == 1000) && bed_all(bed, 1, 1000, 1) && bed_ordered(bed),
		   "rows go in order afterwards");
	bed_stop(bed);
}

/* knob 1: asks for silence by seconds, 2: by a date; 0: accepts. */
static Reply
ask_silence(Bed *bed, const Ask *ask)
{
	(void) ask;
	if (bed->knob == 0)
		return (Reply){.manner = ACCEPT};
	return (Reply){
		.manner = ANSWER,
		.status = 503,
		.headers =
			bed->knob == 1
				? "Retry-After: 2\r\n"
				: "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sunday, 06-Nov-94 08:49:39 GMT\r\n"};
}

static void
check_silence(int knob, const char *title)
{
	Bed	   *bed = BED_START(ask_silence, "somabrain_concurrency", "1");
	int64_t asked_at;

	bed->knob = knob;
	bed_push_many(bed, 1, 20, "t", 4);
	BED_UNTIL(bed, bed->asked == 1);
	asked_at = bed->notes[0].at_us;
	bed->knob = 0;
	tap_ok(BED_UNTIL(bed, bed->done == 20) && bed_all(bed, 1, 20, 1) && bed_ordered(bed),
		   "Retry-After in %s: rows go afterwards", title);
	tap_ok(bed->notes[1].at_us - asked_at >= 1990000, "not before");
	tap_ok(bed->notes[1].at_us - asked_at < 3000000, "and soon");
	bed->knob = knob;
	bed_push(bed, 21, "t", "s");
	BED_UNTIL(bed, bed->drive.state.circuit == SMEM_CIRCUIT_OPEN);
	bed->knob = 0;
	asked_at = drive_clock_us();
	drive_simple(&bed->drive, SMEM_FRAME_TRY_NOW);
	BED_UNTIL(bed, bed->done == 21);
	tap_ok(drive_clock_us() - asked_at < 1000000, "TRY_NOW does not wait for it");
	bed_stop(bed);
}

static void
check_token(void)
{
	char  path[] = "/tmp/smem_token_XXXXXX";
	Bed	 *bed;
	FILE *f;

	close(mkstemp(path));
	unlink(path);
	bed = BED_START(NULL, "somabrain_token_file", path);
	bed_push(bed, 1, "t", "s");
	tap_ok(BED_UNTIL(bed, strstr(bed->drive.error, "could not open token file") != NULL),
		   "without the token's file nothing is sent");
	tap_is_int(bed->asked, 0, "not even a probe");
	f = fopen(path, "w");
	fputs("token", f);
	fclose(f);
	tap_ok(BED_UNTIL(bed, bed->done == 1), "it is enough that it appears");
	unlink(path);
	bed_stop(bed);
}

static void
check_settings(void)
{
	Bed				 *bed = BED_START(NULL, "somabrain_url", "ftp://example.org");
	const char *const batches[] = {"somabrain_batch_items", "5", NULL};
	bool			  small = true;

	bed_push_many(bed, 1, 50, "t", 50);
	tap_ok(BED_UNTIL(bed, strstr(bed->drive.error, "no http or https address") != NULL),
		   "an address of another kind is refused");
	bed_configure(bed, batches);
	tap_ok(BED_UNTIL(bed, bed->done == 50) && bed_all(bed, 1, 50, 1),
		   "new settings are used at once");
	for (int i = 0; i < bed->asked; i++)
		small = small && bed->notes[i].n <= 5;
	tap_ok(small, "batches have the size that was set");
	bed_stop(bed);
}

static long
resident_kb(const Bed *bed)
{
	char  path[64];
	char  line[200];
	long  kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", bed->drive.pid);
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "VmHWM: %ld", &kb);
	if (f != NULL)
		fclose(f);
	return kb;
}

static void
check_flood(void)
{
	Bed		   *bed = BED_START(NULL, NULL);
	static char payload[100000];

	memset(payload, 'x', sizeof(payload));
	memcpy(payload, "{\"c\":\"", 6);
	memcpy(payload + sizeof(payload) - 2, "\"}", 2);
	bed_down(bed);
	for (int id = 1; id <= 1500; id++)
	{
		SmemRow row = bed_row(bed, id, "t", id % 2 ? "a" : "b");

		row.payload.data = payload;
		row.payload.len = sizeof(payload);
		bed_send(bed, &row);
	}
	bed_pass(bed, 1500);
	tap_ok(smem_buf_len(&bed->drive.out) > 100 << 20,
		   "a courier that is full reads no more (%zu bytes wait)", smem_buf_len(&bed->drive.out));
	tap_ok(resident_kb(bed) < 160 * 1024, "its memory is bounded (%ld kB)", resident_kb(bed));
	bed_up(bed);
	tap_ok(BED_UNTIL(bed, bed->done == 1500) && bed_all(bed, 1, 1500, 1) && bed_ordered(bed),
		   "it takes them all in the end");
	bed_stop(bed);
}

static void
check_guest(void)
{
	Bed	  *bed = BED_START(NULL, NULL);
	size_t mark;

	BED_UNTIL(bed, bed->drive.hello);
	tap_ok(bed->drive.hello, "it says hello");
	mark = smem_frame_begin(&bed->drive.out, SMEM_FRAME_PING);
	smem_put_u64(&bed->drive.out, UINT64_C(0x1122334455667788));
	smem_frame_end(&bed->drive.out, mark);
	tap_ok(BED_UNTIL(bed, bed->drive.pong == UINT64_C(0x1122334455667788)), "it answers a ping");
	kill(bed->drive.pid, SIGTERM);
	kill(bed->drive.pid, SIGINT);
	bed_push(bed, 1, "t", "s");
	tap_ok(BED_UNTIL(bed, bed->done == 1), "signals meant for the server do not end it");
	smem_put_u32(&bed->drive.out, 0xFFFFFFF0);
	tap_ok(BED_UNTIL(bed, bed->drive.over), "a frame without sense does");
	bed_stop(bed);

	bed = BED_START(trouble, "somabrain_timeout", "60000");
	bed->knob = 14;
	bed_push_many(bed, 1, 500, "t", 20);
	BED_UNTIL(bed, bed->asked >= 4);
	tap_is_int(bed_stop(bed), 0, "it ends with its socket, also while the service hangs");
}

int
main(void)
{
	large = calloc(9, 1 << 20);
	for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++)
		check_trouble((int) i);
	check_refused();
	check_silence_of_a_quick_one();
	check_probes();
	check_silence(1, "seconds");
	check_silence(2, "a date");
	check_token();
	check_settings();
	check_flood();
	check_guest();
	free((void *) large);
	return tap_done();
}
