#include "postgres.h"

#include "policy/opa.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "catalog/namespace.h"
#include "core/ask.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pg/link.h"
#include "pg/shmem.h"
#include "pg/ticks.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"

/* Questions on the way at once: enough to keep every connection of the courier busy. */
#define WINDOW 32

/* While nobody listens yet, or all places in the queue are taken. */
#define CONNECT_PAUSE_MS 2

#define ANSWER_MAX ((size_t) 1024 * 1024)
#define CHUNK 16384

typedef struct Asker
{
	int		fd;
	int64	deadline; /* in ticks */
	SmemBuf in;
	SmemBuf out;
} Asker;

/* What was not answered has failed for this reason. */
static void
fail_rest(SmemOpaAnswer *answers, int n, const char *reason)
{
	for (int i = 0; i < n; i++)
	{
		if (answers[i].reason == NULL && answers[i].decided == SMEM_DECIDED_NOTHING)
			answers[i].reason = reason;
	}
}

/* Why nothing is to be asked; NULL: something may. */
static const char *
find_obstacle(void)
{
	SmemSinkSlot   *slot = &smem_shared->policy;
	SmemWorkerState state;
	char			error[SMEM_ERROR_LEN];

	LWLockAcquire(smem_shared->lock, LW_SHARED);
	state = slot->state;
	strlcpy(error, slot->last_error, sizeof(error));
	LWLockRelease(smem_shared->lock);
	if (state == SMEM_WORKER_STOPPED || state == SMEM_WORKER_BACKOFF)
		return "the policy worker is not running";
	if (state != SMEM_WORKER_RUNNING || pg_atomic_read_u32(&slot->circuit) == SMEM_CIRCUIT_CLOSED)
		return NULL;
	return error[0] == '\0' ? "the circuit is open" : psprintf("the circuit is open: %s", error);
}

static long
time_left_ms(const Asker *asker)
{
	int64 left = asker->deadline - smem_ticks_us();

	return left <= 0 ? 0 : (long) ((left + 999) / 1000);
}

/* Sleeps until the socket or the latch has something, or the time is up; false when it is. */
static bool
pause_for(Asker *asker, int events, long most_ms)
{
	long left = time_left_ms(asker);

	if (left == 0)
		return false;
	events |= WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	(void) WaitLatchOrSocket(MyLatch, events, asker->fd < 0 ? PGINVALID_SOCKET : asker->fd,
							 Min(left, most_ms), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

static void
hang_up(Asker *asker)
{
	if (asker->fd >= 0)
	{
		close(asker->fd);
		ReleaseExternalFD();
	}
	asker->fd = -1;
	smem_buf_free(&asker->in);
	smem_buf_free(&asker->out);
}

static bool
try_connect(Asker *asker)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strlcpy(address.sun_path, SMEM_ASK_SOCKET, sizeof(address.sun_path));
	if (!AcquireExternalFD())
		return false;
	asker->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (asker->fd < 0)
	{
		ReleaseExternalFD();
		return false;
	}
	if (connect(asker->fd, (struct sockaddr *) &address, sizeof(address)) == 0)
		return true;
	close(asker->fd);
	ReleaseExternalFD();
	asker->fd = -1;
	return false;
}

/* A courier that has just died is back in no time. */
static const char *
call_up(Asker *asker)
{
	while (!try_connect(asker))
	{
		const char *obstacle = find_obstacle();

		if (obstacle != NULL)
			return obstacle;
		if (!pause_for(asker, 0, CONNECT_PAUSE_MS))
			return "the policy worker does not listen";
	}
	return NULL;
}

/* NULL where this database cannot hold it: an error would hide what was decided. */
static char *
to_server(char *utf8)
{
	int	  encoding = GetDatabaseEncoding();
	int	  len = (int) strlen(utf8);
	int	  size = len * MAX_CONVERSION_GROWTH + 1;
	char *text;
	Oid	  proc;

	if (!pg_verify_mbstr(PG_UTF8, utf8, len, true))
		return NULL;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return utf8;
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return NULL;
	text = palloc(size);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding, (unsigned char *) utf8, len,
									  (unsigned char *) text, size, true) < len)
		return NULL;
	return text;
}

static const char *
copy_text(SmemStr s)
{
	char *text;

	if (!smem_str_present(s))
		return NULL;
	text = to_server(pnstrdup(s.data, s.len));
	return text != NULL ? text : "the reason has characters that this database cannot hold";
}

/* Takes the answers that are whole; returns how many, or -1 where one makes no sense. */
static int
take_answers(Asker *asker, int n, SmemOpaAnswer *answers)
{
	uint8_t			type;
	SmemReader		rd;
	SmemFrameStatus status;
	int				taken = 0;

	while ((status = smem_frame_next(&asker->in, &type, &rd)) == SMEM_FRAME_READY)
	{
		SmemAskAnswer  answer;
		SmemOpaAnswer *place;

		smem_get_answer(&rd, &answer);
		if (type != SMEM_FRAME_DECISION || rd.bad || answer.number >= (uint32_t) n)
			return -1;
		place = &answers[answer.number];
		place->decided = answer.verdict == SMEM_VERDICT_ALLOW  ? SMEM_DECIDED_ALLOW
						 : answer.verdict == SMEM_VERDICT_DENY ? SMEM_DECIDED_DENY
															   : SMEM_DECIDED_NOTHING;
		place->rule = copy_text(answer.rule);
		place->reason = copy_text(answer.reason);
		smem_buf_consume(&asker->in, smem_frame_size(&asker->in));
		taken++;
	}
	return status == SMEM_FRAME_REFUSED ? -1 : taken;
}

/* Waits for n answers; NULL, or why they did not all come. */
static const char *
hear(Asker *asker, int n, SmemOpaAnswer *answers)
{
	int heard = 0;

	while (heard < n)
	{
		int taken;

		if (!smem_socket_send(asker->fd, &asker->out))
			return "the policy worker hung up";
		if (!pause_for(asker,
					   WL_SOCKET_READABLE |
						   (smem_buf_len(&asker->out) > 0 ? WL_SOCKET_WRITEABLE : 0),
					   LONG_MAX))
			return psprintf("no answer within %d ms", smem_guc_opa_timeout);
		if (!smem_socket_receive(asker->fd, &asker->in, CHUNK))
			return "the policy worker hung up";
		taken = take_answers(asker, n, answers);
		if (taken < 0)
			return "the policy worker sent what makes no sense";
		heard += taken;
	}
	return NULL;
}

static void
put_question(Asker *asker, int number, SmemStr input)
{
	SmemAsk ask = {
		.number = (uint32_t) number, .timeout_ms = (uint32_t) smem_guc_opa_timeout, .input = input};

	smem_frame_ask(&asker->out, &ask);
}

/* One window of questions on the open line. */
static const char *
ask_some(Asker *asker, SmemOpaInput input, void *arg, int from, int n, SmemOpaAnswer *answers)
{
	for (int i = 0; i < n; i++)
		put_question(asker, i, input(arg, from + i));
	asker->deadline = smem_ticks_us() + (int64) smem_guc_opa_timeout * 1000;
	return hear(asker, n, answers + from);
}

void
smem_opa_ask(SmemOpaInput input, void *arg, int n, SmemOpaAnswer *answers)
{
	Asker		asker = {.fd = -1};
	const char *obstacle = find_obstacle();

	for (int i = 0; i < n; i++)
		answers[i] = (SmemOpaAnswer){.decided = SMEM_DECIDED_NOTHING};
	smem_buf_init(&asker.in, ANSWER_MAX);
	smem_buf_init(&asker.out, SMEM_FRAME_MAX);
	asker.deadline = smem_ticks_us() + (int64) smem_guc_opa_timeout * 1000;
	PG_TRY();
	{
		if (obstacle == NULL)
			obstacle = call_up(&asker);
		for (int i = 0; i < n && obstacle == NULL; i += WINDOW)
			obstacle = ask_some(&asker, input, arg, i, Min(n - i, WINDOW), answers);
	}
	PG_FINALLY();
	{
		hang_up(&asker);
	}
	PG_END_TRY();
	if (obstacle != NULL)
		fail_rest(answers, n, obstacle);
}
