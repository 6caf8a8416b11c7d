/*
 * A stand-in for SomaBrain: checks every request against the contract,
 * records what it accepts, and fails on request.  README.md has its options.
 *
 * One thread, one epoll set.  Going down closes the listener and every
 * connection but those of the control port, so that clients are refused as by
 * a dead server; coming up binds the same port again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"

#define EVENTS_MAX 64

typedef struct Server
{
	int			epoll;
	int			listener; /* -1 while down */
	int			control;
	uint16_t	port;
	uint16_t	control_port;
	SSL_CTX	   *tls;
	SmemConn   *conns;
	SmemService service;
} Server;

static volatile sig_atomic_t stop_asked = 0;

static void
ask_to_stop(int signal)
{
	(void) signal;
	stop_asked = 1;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
die(const char *what)
{
	fprintf(stderr, "somabrain: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
watch(Server *server, int op, int fd, uint32_t events, void *mark)
{
	struct epoll_event event = {.events = events, .data.ptr = mark};

	if (epoll_ctl(server->epoll, op, fd, &event) < 0)
		die("could not watch a descriptor");
}

/* Listens on the loopback; *port 0 lets the system choose, and is set. */
static int
listen_on(Server *server, uint16_t *port, int *mark)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t		   len = sizeof(addr);
	int				   on = 1;
	int				   fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &addr, len) < 0 || listen(fd, 512) < 0 ||
		getsockname(fd, (struct sockaddr *) &addr, &len) < 0)
		die("could not listen");
	*port = ntohs(addr.sin_port);
	watch(server, EPOLL_CTL_ADD, fd, EPOLLIN, mark);
	return fd;
}

static void
drop(Server *server, SmemConn *conn)
{
	bool reset = conn->reply.kind == SMEM_FAULT_RESET && conn->state != SMEM_CONN_WRITE;

	if (conn->prev)
		conn->prev->next = conn->next;
	else
		server->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	if (!conn->control_only)
		server->service.connections--;
	smem_conn_close(conn, reset);
}

static void
adopt(Server *server, int fd, bool control_only)
{
	SmemService *service = &server->service;
	SSL			*ssl = NULL;
	SmemConn	*conn;
	int			 on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (server->tls && !control_only)
	{
		ssl = SSL_new(server->tls);
		SSL_set_fd(ssl, fd);
		SSL_set_accept_state(ssl);
	}
	conn = smem_conn_open(fd, ssl, control_only);
	if (conn == NULL)
		return;
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
	watch(server, EPOLL_CTL_ADD, fd, conn->wanted, conn);
	if (!control_only && ++service->connections > service->connections_max)
		service->connections_max = service->connections;
}

static void
accept_all(Server *server, int listener, bool control_only)
{
	for (;;)
	{
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		adopt(server, fd, control_only);
	}
}

static void
go_down(Server *server)
{
	SmemConn *conn;
	SmemConn *next;

	close(server->listener);
	server->listener = -1;
	for (conn = server->conns; conn; conn = next)
	{
		next = conn->next;
		if (!conn->control_only)
			drop(server, conn);
	}
}

static void
follow_faults(Server *server, int64_t now)
{
	bool down = smem_faults_down(&server->service.faults, now);

	if (down && server->listener >= 0)
		go_down(server);
	else if (!down && server->listener < 0)
		server->listener = listen_on(server, &server->port, &server->listener);
}

/* Calls what is due and returns how long to wait for the next. */
static int
run_clock(Server *server, int64_t now)
{
	const SmemFaults *faults = &server->service.faults;
	int64_t			  due = INT64_MAX;
	SmemConn		 *conn;
	SmemConn		 *next;

	for (conn = server->conns; conn; conn = next)
	{
		uint32_t wanted = conn->wanted;

		next = conn->next;
		if (conn->due_ms <= now)
		{
			if (!smem_conn_due(conn, &server->service, now))
			{
				drop(server, conn);
				continue;
			}
			if (conn->wanted != wanted)
				watch(server, EPOLL_CTL_MOD, conn->fd, conn->wanted, conn);
		}
		if (conn->due_ms < due)
			due = conn->due_ms;
	}
	if (server->listener < 0 && faults->down_until_ms < due)
		due = faults->down_until_ms;
	if (due == INT64_MAX)
		return -1;
	return due <= now ? 0 : (int) (due - now);
}

static void
turn(Server *server)
{
	struct epoll_event events[EVENTS_MAX];
	int64_t			   now = now_ms();
	int				   n;
	int				   i;

	follow_faults(server, now);
	n = epoll_wait(server->epoll, events, EVENTS_MAX, run_clock(server, now));
	now = now_ms();
	for (i = 0; i < n; i++)
	{
		void	 *mark = events[i].data.ptr;
		SmemConn *conn = mark;
		uint32_t  wanted;

		if (mark == &server->listener || mark == &server->control)
		{
			accept_all(server, *(int *) mark, mark == &server->control);
			continue;
		}
		wanted = conn->wanted;
		if (!smem_conn_ready(conn, &server->service, now))
			drop(server, conn);
		else if (conn->wanted != wanted)
			watch(server, EPOLL_CTL_MOD, conn->fd, conn->wanted, conn);
	}
}

static SSL_CTX *
open_tls(const char *cert, const char *key)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

	if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
		SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
	{
		fputs("somabrain: could not use the certificate or its key\n", stderr);
		exit(1);
	}
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return tls;
}

static void
usage(void)
{
	fputs("usage: somabrain [--port N] [--control-port N] [--record FILE] [--no-values]\n"
		  "                 [--items] [--prefix PATH] [--token TEXT] [--forms LIST]\n"
		  "                 [--cert FILE --key FILE]\n",
		  stderr);
	exit(2);
}

static void
read_options(Server *server, int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
											{"control-port", required_argument, NULL, 'c'},
											{"record", required_argument, NULL, 'r'},
											{"no-values", no_argument, NULL, 'n'},
											{"items", no_argument, NULL, 'i'},
											{"prefix", required_argument, NULL, 'x'},
											{"token", required_argument, NULL, 't'},
											{"forms", required_argument, NULL, 'f'},
											{"cert", required_argument, NULL, 'C'},
											{"key", required_argument, NULL, 'K'},
											{NULL, 0, NULL, 0}};
	SmemService				  *service = &server->service;
	const char				  *record = NULL;
	const char				  *cert = NULL;
	const char				  *key = NULL;
	int						   option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
	{
		if (option == 'p')
			server->port = (uint16_t) atoi(optarg);
		else if (option == 'c')
			server->control_port = (uint16_t) atoi(optarg);
		else if (option == 'r')
			record = optarg;
		else if (option == 'n')
			service->ledger.with_values = false;
		else if (option == 'i')
			service->ledger.with_items = true;
		else if (option == 'x')
			service->prefix = smem_slice(optarg);
		else if (option == 't')
			snprintf(service->faults.token, sizeof(service->faults.token), "%s", optarg);
		else if (option == 'f' && smem_faults_forms(optarg))
			service->faults.forms = smem_faults_forms(optarg);
		else if (option == 'C')
			cert = optarg;
		else if (option == 'K')
			key = optarg;
		else
			usage();
	}
	if (cert && key)
		server->tls = open_tls(cert, key);
	if (!smem_ledger_open(&service->ledger, record))
		die(record);
}

int
main(int argc, char **argv)
{
	static Server	 server;
	struct sigaction action = {.sa_handler = ask_to_stop};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	json_global_set_string_hash(JSON_C_STR_HASH_PERLLIKE);
	smem_faults_init(&server.service.faults);
	smem_request_init(&server.service.request);
	server.service.ledger.with_values = true;
	server.service.prefix = smem_slice("");
	read_options(&server, argc, argv);
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.listener = listen_on(&server, &server.port, &server.listener);
	server.control = listen_on(&server, &server.control_port, &server.control);
	printf("ready %u control %u\n", server.port, server.control_port);
	fflush(stdout);
	while (!stop_asked)
		turn(&server);
	return 0;
}
