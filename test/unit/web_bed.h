/*
 * A courier that serves HTTP, the worker that renders for it, and its clients,
 * of which all but the courier are this process.
 *
 * The worker answers a FETCH at once, or holds it until web_release.  Its
 * documents say which FETCH of the bed they answer: "document 1", and so on,
 * followed by filler up to the size that the case asks for.
 */
#ifndef SMEM_TEST_WEB_BED_H
#define SMEM_TEST_WEB_BED_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include "core/web.h"
#include "drive.h"
#include "tap.h"

#define WEB_HELD 512
#define WEB_PATIENCE_US 20000000
#define WEB_IN_MAX ((size_t) 96 * 1024 * 1024)

typedef struct Web
{
	Drive		 drive;
	int			 port; /* http_listen */
	bool		 hold;
	bool		 forget; /* no FETCH is ever answered */
	size_t		 size;	 /* of a document, at the least */
	uint32_t	 status;
	unsigned	 fetches;
	SmemFetch	 last;
	char		 database[128]; /* of the last */
	SmemDocument held[WEB_HELD];
	unsigned	 held_number[WEB_HELD];
	unsigned	 nheld;
} Web;

typedef struct Client
{
	int		fd; /* -1: none */
	bool	over;
	bool	lazy; /* does not read */
	SmemBuf in;
} Client;

static inline int
free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t		   len = sizeof(addr);
	int				   fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *) &addr, len) != 0 ||
		getsockname(fd, (struct sockaddr *) &addr, &len) != 0)
		abort();
	close(fd);
	return ntohs(addr.sin_port);
}

/* A listener of our own, in the courier's way. */
static inline int
squat(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
							   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
							   .sin_port = htons((uint16_t) port)};
	int				   fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int				   on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0 || listen(fd, 1) != 0)
		abort();
	return fd;
}

static inline void
web_answer(Web *web, uint32_t number, unsigned count)
{
	SmemBuf		 body;
	SmemDocument document = {.number = number, .status = web->status};

	smem_buf_init(&body, SMEM_FRAME_MAX);
	smem_buf_printf(&body, "document %u\n", count);
	if (smem_buf_len(&body) < web->size)
	{
		size_t n = web->size - smem_buf_len(&body);

		memset(smem_buf_reserve(&body, n), 'x', n);
		body.end += n;
	}
	document.body = (SmemStr){smem_buf_head(&body), smem_buf_len(&body)};
	smem_frame_document(&web->drive.out, &document);
	smem_buf_free(&body);
}

static inline void
web_frame(void *arg, uint8_t type, SmemReader *rd)
{
	Web *web = arg;

	if (type != SMEM_FRAME_FETCH)
		abort();
	smem_get_fetch(rd, &web->last);
	if (rd->bad)
		abort();
	snprintf(web->database, sizeof(web->database), "%.*s", (int) web->last.database.len,
			 web->last.database.data ? web->last.database.data : "");
	web->fetches++;
	if (web->forget)
		return;
	if (!web->hold)
		web_answer(web, web->last.number, web->fetches);
	else if (web->nheld < WEB_HELD)
	{
		web->held[web->nheld] = (SmemDocument){.number = web->last.number};
		web->held_number[web->nheld++] = web->fetches;
	}
}

static inline void
web_release(Web *web)
{
	web->hold = false;
	for (unsigned i = 0; i < web->nheld; i++)
		web_answer(web, web->held[i].number, web->held_number[i]);
	web->nheld = 0;
}

/* Further settings are pairs, ended by a NULL. */
static inline void
web_configure(Web *web, const char *http, const char *metrics, const char *const *more)
{
	const char *pairs[32] = {"sink", "web", "http_listen", http, "metrics_listen", metrics};
	int			n = 6;

	for (; more != NULL && more[0] != NULL; more++)
		pairs[n++] = *more;
	pairs[n] = NULL;
	drive_config(&web->drive, pairs);
}

static inline Web *
web_begin(void)
{
	Web *web = calloc(1, sizeof(*web));

	web->status = 200;
	web->port = free_port();
	drive_start(&web->drive, NULL, web);
	web->drive.on_frame = web_frame;
	return web;
}

#define WEB_UNTIL(web, clients, n, claim)                                                          \
	({                                                                                             \
		int64_t until_ = drive_clock_us() + WEB_PATIENCE_US;                                       \
		while (!(claim) && !(web)->drive.over && drive_clock_us() < until_)                        \
		{                                                                                          \
			drive_turn(&(web)->drive, 2);                                                          \
			for (int c_ = 0; c_ < (n); c_++)                                                       \
				client_read(&((Client *) (clients))[c_]);                                          \
		}                                                                                          \
		(claim);                                                                                   \
	})

static inline void
client_read(Client *client)
{
	ssize_t n = 1;

	while (client->fd >= 0 && !client->over && !client->lazy && n > 0)
	{
		char *place = smem_buf_reserve(&client->in, 65536);

		if (place == NULL)
			abort();
		n = recv(client->fd, place, 65536, MSG_DONTWAIT);
		if (n > 0)
			client->in.end += (size_t) n;
		else if (n == 0 || errno != EAGAIN)
			client->over = true;
	}
}

/* A courier that serves its one address. */
static inline Web *
web_start(const char *const *more)
{
	Web *web = web_begin();
	char address[32];

	snprintf(address, sizeof(address), "127.0.0.1:%d", web->port);
	web_configure(web, address, "", more);
	WEB_UNTIL(web, NULL, 0, web->drive.states > 0);
	return web;
}

static inline int
web_stop(Web *web)
{
	int status = drive_stop(&web->drive);

	free(web);
	return status;
}

static inline Client
client_open(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
							   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
							   .sin_port = htons((uint16_t) port)};
	Client			   client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	smem_buf_init(&client.in, WEB_IN_MAX);
	if (connect(client.fd, (struct sockaddr *) &addr, sizeof(addr)) != 0)
	{
		close(client.fd);
		client.fd = -1;
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

static inline void
client_send(Client *client, const char *text)
{
	if (send(client->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		client->over = true;
}

static inline void
client_get(Client *client, const char *path)
{
	char text[512];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
	client_send(client, text);
}

static inline const char *
client_text(Client *client)
{
	return smem_buf_text(&client->in);
}

static inline int
client_status(Client *client)
{
	const char *text = client_text(client);

	return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
}

/* Which document is in the answer, 0: none. */
static inline int
client_document(Client *client)
{
	const char *at = strstr(client_text(client), "\r\n\r\ndocument ");

	return at != NULL ? atoi(at + 13) : 0;
}

/* Whether the first answer is there with as many bytes as it says. */
static inline bool
client_done(Client *client)
{
	const char *text = client_text(client);
	const char *body = strstr(text, "\r\n\r\n");
	const char *length = strstr(text, "\r\nContent-Length: ");

	return body != NULL && length != NULL && length < body &&
		   smem_buf_len(&client->in) - (size_t) (body + 4 - text) >= (size_t) atol(length + 18);
}

/* A whole request; returns the status, 0 for none. */
static inline int
ask(Web *web, int port, const char *path)
{
	Client client = client_open(port);
	int	   status;

	if (client.fd < 0)
		return 0;
	client_get(&client, path);
	WEB_UNTIL(web, &client, 1, client_done(&client) || client.over);
	status = client_status(&client);
	client_close(&client);
	return status;
}

#endif
