/*
 * Whatever a server may send, through libcurl and http.c, up to the judgement.
 *
 * The server says all of it as soon as it is connected to, and no more.
 * Claims: every call ends, once; a body is never longer than allowed, a
 * Retry-After never longer than a day, and an answer whole where it has a
 * status.
 */
#include "fuzz.h"

#include "../../src/courier/http.c"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "courier/brain.h"

#define ANSWER_MAX 16384

static char address_name[32];

/* What the server says, once. */
typedef struct Server
{
	int			   listener;
	int			   fd;
	const uint8_t *data;
	size_t		   size;
} Server;

/* How a call ended. */
typedef struct Ended
{
	int			  times;
	SmemJudgement judgement;
} Ended;

static void
note_end(void *arg, const SmemHttpAnswer *answer)
{
	Ended *ended = arg;

	ended->times++;
	FUZZ_CLAIM(answer->error != NULL);
	FUZZ_CLAIM(answer->body.len <= ANSWER_MAX);
	FUZZ_CLAIM(answer->retry_after_s >= -1 && answer->retry_after_s <= SMEM_RETRY_AFTER_MAX);
	FUZZ_CLAIM((answer->status != 0) == (answer->fault == SMEM_HTTP_ANSWERED));
	smem_brain_judge(answer, &ended->judgement);
}

static void
send_request(SmemHttp *http, Ended *ended)
{
	SmemHttpCall *call = smem_http_begin(http);

	smem_buf_puts(smem_http_body(call), "{}");
	/* No network, and no ports that run out. */
	curl_easy_setopt(call->easy, CURLOPT_ABSTRACT_UNIX_SOCKET, address_name);
	FUZZ_CLAIM(smem_http_send(call, "http://127.0.0.1/", 10 * SMEM_SEC, true, note_end, ended));
}

static void
serve(Server *server)
{
	ssize_t sent;

	if (server->fd >= 0)
		return;
	server->fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (server->fd < 0)
		return;
	sent = server->size > 0 ? send(server->fd, server->data, server->size, MSG_NOSIGNAL) : 0;
	FUZZ_CLAIM(sent == (ssize_t) server->size);
	shutdown(server->fd, SHUT_WR);
}

/* A call that does not end by itself although the server has, is a fault. */
static void
run_loop(SmemHttp *http, Server *server, const Ended *ended)
{
	SmemHost *host = http->host;
	SmemTime  deadline = host->now + 5 * SMEM_SEC;

	for (;;)
	{
		SmemTime next = smem_http_tick(http);

		if (ended->times > 0)
			return;
		serve(server);
		FUZZ_CLAIM(smem_loop_wait(host->loop, host->now, smem_time_min(next, deadline)));
		host->now = smem_loop_now();
		FUZZ_CLAIM(ended->times > 0 || host->now < deadline);
	}
}

static void
start_server(Server *server)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t		   len;

	len =
		(socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 +
					 (size_t) snprintf(address_name, sizeof(address_name), "somamem.%d", getpid()));
	memcpy(addr.sun_path + 1, address_name, strlen(address_name));
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	FUZZ_CLAIM(bind(server->listener, (struct sockaddr *) &addr, len) == 0);
	FUZZ_CLAIM(listen(server->listener, 8) == 0);
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static SmemHost host;
	static Server	server;
	SmemHttp	   *http;
	Ended			ended = {0};

	if (host.loop == NULL)
	{
		host.loop = smem_loop_open();
		start_server(&server);
	}
	server.fd = -1;
	server.data = data;
	server.size = size;
	host.now = smem_loop_now();
	host.wall_us = INT64_C(1700000000) * SMEM_SEC;
	http = smem_http_open(&host, ANSWER_MAX);
	send_request(http, &ended);
	run_loop(http, &server, &ended);
	FUZZ_CLAIM(ended.times == 1);
	smem_http_close(http);
	if (server.fd >= 0)
		close(server.fd);
	return 0;
}
