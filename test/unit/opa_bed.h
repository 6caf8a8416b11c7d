/*
 * A courier between sessions and an Open Policy Agent that are all this process.
 *
 * The service is that of brain_bed.h, answered by the case's script; the
 * sessions are clients of the courier's socket.  The working directory is one
 * of our own, where the socket is.
 */
#ifndef SMEM_TEST_OPA_BED_H
#define SMEM_TEST_OPA_BED_H

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "brain_bed.h"
#include "core/ask.h"

#define OPA_ANSWERS 4096

/* The answer to the question of that number, of any client. */
typedef struct Answer
{
	int	 count;
	int	 verdict;
	char rule[64];
	char reason[400];
} Answer;

typedef struct Client
{
	int		fd; /* -1: none */
	bool	over;
	SmemBuf in;
} Client;

static Answer answers[OPA_ANSWERS];
static int	  answered;

static inline void
opa_enter(void)
{
	static char	  folder[] = "/tmp/smem_opa_XXXXXX";
	struct rlimit limit;

	if (mkdtemp(folder) == NULL || chdir(folder) != 0 || mkdir("pg_stat_tmp", 0700) != 0)
		abort();
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static inline void
opa_leave(void)
{
	char folder[256];

	if (getcwd(folder, sizeof(folder)) == NULL || rmdir("pg_stat_tmp") != 0 || chdir("/") != 0 ||
		rmdir(folder) != 0)
		tap_ok(false, "the folder is empty at the end");
}

static inline void
opa_configure(Bed *bed, const char *timeout_ms)
{
	char		url[64];
	const char *pairs[] = {"sink",
						   "opa",
						   "opa_url",
						   url,
						   "opa_decision_path",
						   "/v1/data/soma/policy/allow",
						   "opa_timeout",
						   timeout_ms,
						   NULL};

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", bed->port);
	drive_config(&bed->drive, pairs);
}

/* A courier that has asked once and found the service, or knows that it is not there. */
static inline Bed *
opa_start(Script script, int knob, const char *timeout_ms)
{
	Bed *bed = calloc(1, sizeof(*bed));

	for (int i = 0; i < BED_CONNS; i++)
		bed->conns[i].fd = -1;
	bed->script = script;
	bed->knob = knob;
	bed_up(bed);
	memset(answers, 0, sizeof(answers));
	answered = 0;
	drive_start(&bed->drive, bed_outcome, bed);
	opa_configure(bed, timeout_ms);
	return bed;
}

static inline Client
client_open(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = SMEM_ASK_SOCKET};
	Client			   client = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	smem_buf_init(&client.in, 1 << 20);
	if (connect(client.fd, (struct sockaddr *) &addr, sizeof(addr)) != 0)
	{
		close(client.fd);
		client.fd = -1;
	}
	else
		fcntl(client.fd, F_SETFL, O_NONBLOCK);
	return client;
}

/* Waits for the courier to listen. */
static inline Client
client_start(Bed *bed)
{
	Client client = client_open();

	while (client.fd < 0 && !bed->drive.over)
	{
		bed_turn(bed, 5);
		client = client_open();
	}
	return client;
}

static inline void
client_close(Client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	smem_buf_free(&client->in);
}

static inline bool
client_send(Client *client, const void *bytes, size_t n)
{
	return send(client->fd, bytes, n, MSG_NOSIGNAL) == (ssize_t) n;
}

static inline void
client_ask(Client *client, uint32_t number, uint32_t timeout_ms, const char *input)
{
	SmemAsk ask = {.number = number, .timeout_ms = timeout_ms, .input = smem_str(input)};
	SmemBuf buf;

	smem_buf_init(&buf, 64 << 20);
	smem_frame_ask(&buf, &ask);
	if (!client_send(client, smem_buf_head(&buf), smem_buf_len(&buf)))
		abort();
	smem_buf_free(&buf);
}

static inline void
copy_str(char *to, size_t size, SmemStr s)
{
	snprintf(to, size, "%.*s", (int) s.len, s.data ? s.data : "");
}

static inline void
client_read(Client *client)
{
	char	  *place = client->fd >= 0 ? smem_buf_reserve(&client->in, 65536) : NULL;
	ssize_t	   n;
	SmemReader rd;
	uint8_t	   type;

	if (place == NULL)
		return;
	n = recv(client->fd, place, 65536, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		client->over = true;
	if (n <= 0)
		return;
	client->in.end += (size_t) n;
	while (smem_frame_next(&client->in, &type, &rd) == SMEM_FRAME_READY)
	{
		SmemAskAnswer got;
		Answer		 *answer;

		smem_get_answer(&rd, &got);
		if (type != SMEM_FRAME_DECISION || rd.bad || got.number >= OPA_ANSWERS)
			abort();
		answer = &answers[got.number];
		answer->count++;
		answer->verdict = got.verdict;
		copy_str(answer->rule, sizeof(answer->rule), got.rule);
		copy_str(answer->reason, sizeof(answer->reason), got.reason);
		answered++;
		smem_buf_consume(&client->in, smem_frame_size(&client->in));
	}
}

/* Runs until the claim holds, and reads what the clients get. */
#define OPA_UNTIL(bed, clients, n, claim)                                                          \
	({                                                                                             \
		int64_t until_ = drive_clock_us() + BED_PATIENCE_US;                                       \
		while (!(claim) && !(bed)->drive.over && drive_clock_us() < until_)                        \
		{                                                                                          \
			bed_turn(bed, 2);                                                                      \
			for (int c_ = 0; c_ < (n); c_++)                                                       \
				client_read(&(clients)[c_]);                                                       \
		}                                                                                          \
		(claim);                                                                                   \
	})

/* Asks and waits for the answer. */
static inline const Answer *
ask_one(Bed *bed, Client *client, uint32_t number, uint32_t timeout_ms, const char *input)
{
	client_ask(client, number, timeout_ms, input);
	OPA_UNTIL(bed, client, 1, answers[number].count > 0);
	return &answers[number];
}

static inline bool
is_check(const Ask *ask)
{
	return ask->body.len == 12 && memcmp(ask->body.data, "{\"input\":{}}", 12) == 0;
}

static inline bool
asks_why(const Ask *ask)
{
	return strcmp(ask->path, "/v1/data/soma/policy/decision") == 0;
}

/* 200 with a body. */
static inline Reply
say(const char *body)
{
	return (Reply){.manner = ANSWER, .status = 200, .body = body};
}

#endif
