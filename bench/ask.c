/*
 * Asks an HTTP server the same question again and again: what Open Policy
 * Agent takes by itself, without a database in between.
 *
 * Each connection sends the body, waits for the whole answer, and begins anew,
 * until the time is over.  A line a call on standard output: its microseconds.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES 4096
#define CALLS_MAX 200000

typedef struct Asker
{
	pthread_t thread;
	int		  port;
	char	 *request;
	int64_t	  until;
	int		  calls;
	int32_t	 *took;
} Asker;

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
call_up(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
								  .sin_port = htons((uint16_t) port),
								  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int				   fd = socket(AF_INET, SOCK_STREAM, 0);
	int				   on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
		die("ask: connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* Bytes that the answer has in all, once its head is there; else 0. */
static size_t
answer_size(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");
	const char *length = strcasestr(answer, "content-length:");

	if (end == NULL)
		return 0;
	if (length == NULL || length > end || strncmp(answer, "HTTP/1.1 200", 12) != 0)
	{
		fprintf(stderr, "ask: %s\n", answer);
		exit(1);
	}
	return (size_t) (end - answer) + 4 + strtoul(length + 15, NULL, 10);
}

static void
hear(int fd)
{
	char   answer[ANSWER_BYTES] = "";
	size_t have = 0;
	size_t size = 0;

	while (size == 0 || have < size)
	{
		ssize_t n = read(fd, answer + have, sizeof(answer) - 1 - have);

		if (n <= 0)
			die("ask: read");
		have += (size_t) n;
		answer[have] = '\0';
		size = answer_size(answer);
	}
}

static void *
run(void *arg)
{
	Asker *asker = arg;
	size_t size = strlen(asker->request);
	int	   fd = call_up(asker->port);

	while (asker->calls < CALLS_MAX)
	{
		int64_t began = now_us();

		if (began > asker->until)
			break;
		if (write(fd, asker->request, size) != (ssize_t) size)
			die("ask: write");
		hear(fd);
		asker->took[asker->calls++] = (int32_t) (now_us() - began);
	}
	close(fd);
	return NULL;
}

static void
start(Asker *asker, int port, const char *path, const char *body, double seconds)
{
	asker->port = port;
	asker->until = now_us() + (int64_t) (seconds * 1e6);
	asker->took = malloc(CALLS_MAX * sizeof(*asker->took));
	if (asker->took == NULL ||
		asprintf(&asker->request,
				 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
				 "Content-Length: %zu\r\n\r\n%s",
				 path, strlen(body), body) < 0 ||
		pthread_create(&asker->thread, NULL, run, asker) != 0)
		die("ask: start");
}

int
main(int argc, char **argv)
{
	int			connections = 8;
	int			port = 8181;
	double		seconds = 2;
	const char *path = "/";
	const char *body = "{}";
	Asker	   *askers;
	int			option;

	while ((option = getopt(argc, argv, "p:u:b:c:s:")) >= 0)
	{
		if (option == 'p')
			port = atoi(optarg);
		else if (option == 'u')
			path = optarg;
		else if (option == 'b')
			body = optarg;
		else if (option == 'c')
			connections = atoi(optarg);
		else if (option == 's')
			seconds = atof(optarg);
		else
			return 2;
	}
	askers = calloc((size_t) connections, sizeof(*askers));
	if (askers == NULL)
		die("ask: start");
	for (int i = 0; i < connections; i++)
		start(&askers[i], port, path, body, seconds);
	for (int i = 0; i < connections; i++)
	{
		pthread_join(askers[i].thread, NULL);
		for (int k = 0; k < askers[i].calls; k++)
			printf("%d\n", askers[i].took[k]);
		free(askers[i].took);
		free(askers[i].request);
	}
	free(askers);
	return 0;
}
