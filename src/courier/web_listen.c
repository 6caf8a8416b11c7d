#include "courier/web_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/retry.h"
#include "courier/random.h"

#define SMEM_WEB_BACKLOG 1024
#define SMEM_WEB_ADDRESS_TEXT 512
#define SMEM_LOOKUP_GAP (20 * SMEM_MSEC)
#define SMEM_ACCEPT_PAUSE (100 * SMEM_MSEC)
#define SMEM_LISTEN_PAUSE (100 * SMEM_MSEC)

/* What one connection may hold in the kernel while it does not read. */
#define SMEM_WEB_SEND_BUFFER (64 * 1024)

/* A name that is being resolved.  Its memory is the C library's until it has ended. */
struct SmemLookup
{
	struct gaicb	query;
	struct gaicb   *list[1];
	struct addrinfo hints;
	SmemWebPlace	place;
};

void
smem_listeners_init(SmemListeners *all, SmemHost *host)
{
	static const char *const settings[SMEM_WEB_ADDRESSES] = {"http_listen", "metrics_listen"};

	all->host = host;
	all->held_until = SMEM_TIME_NEVER;
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
		all->socket[i].fd = -1;
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
	{
		all->address[i].setting = settings[i];
		all->address[i].retry_at = SMEM_TIME_NEVER;
		smem_buf_init(&all->address[i].text, SMEM_WEB_ADDRESS_TEXT);
	}
}

/* One that cannot be cancelled is left to itself: its memory is small, and seldom. */
static void
drop_lookup(SmemAddress *address)
{
	if (address->lookup != NULL && gai_cancel(&address->lookup->query) != EAI_NOTCANCELED)
	{
		if (address->lookup->query.ar_result != NULL)
			freeaddrinfo(address->lookup->query.ar_result);
		smem_release(address->lookup);
	}
	address->lookup = NULL;
}

static void
close_all(SmemListeners *all)
{
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
	{
		if (all->socket[i].fd < 0)
			continue;
		smem_loop_unwatch(all->host->loop, all->socket[i].fd);
		close(all->socket[i].fd);
		all->socket[i].fd = -1;
	}
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
		drop_lookup(&all->address[i]);
}

void
smem_listeners_close(SmemListeners *all)
{
	close_all(all);
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
		smem_buf_free(&all->address[i].text);
}

static void
set_address(SmemAddress *address, const char *text, bool metrics, SmemTime now)
{
	smem_buf_reset(&address->text);
	smem_buf_puts(&address->text, text);
	address->metrics = metrics;
	address->done = false;
	address->failures = 0;
	address->error.kind = SMEM_ERROR_NONE;
	address->retry_at = now;
	address->usable = smem_web_place(text, &address->place);
	if (text[0] == '\0' || !address->usable)
		address->retry_at = SMEM_TIME_NEVER;
	if (text[0] != '\0' && !address->usable)
		smem_error_set(&address->error, SMEM_ERROR_CONFIG, false,
					   "cannot listen: setting \"somamem.%s\" is no address host:port",
					   address->setting);
}

void
smem_listeners_configure(SmemListeners *all, const SmemConfig *config)
{
	const char *http = smem_config_text(config, "http_listen", "");
	const char *metrics = smem_config_text(config, "metrics_listen", "");

	if (strcmp(http, smem_buf_text(&all->address[0].text)) == 0 &&
		strcmp(metrics, smem_buf_text(&all->address[1].text)) == 0)
		return;
	close_all(all);
	set_address(&all->address[0], http, metrics[0] == '\0', all->host->now);
	set_address(&all->address[1], metrics, true, all->host->now);
}

static void
note_connection(void *arg, int fd, uint32_t events)
{
	(void) fd;
	(void) events;
	((SmemListener *) arg)->pending = true;
}

static bool
watch(SmemListeners *all, SmemListener *listener)
{
	return smem_loop_watch(all->host->loop, listener->fd, EPOLLIN, note_connection, listener);
}

/* Ours for this address already, by this setting or the other one. */
static SmemListener *
find_listener(SmemListeners *all, const struct addrinfo *info)
{
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
	{
		SmemListener *listener = &all->socket[i];

		if (listener->fd >= 0 && listener->addr_len == info->ai_addrlen &&
			memcmp(&listener->addr, info->ai_addr, info->ai_addrlen) == 0)
			return listener;
	}
	return NULL;
}

static SmemListener *
free_listener(SmemListeners *all)
{
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
	{
		if (all->socket[i].fd < 0)
			return &all->socket[i];
	}
	errno = EMFILE;
	return NULL;
}

/* A socket that listens, or -1 with errno set. */
static int
open_socket(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;
	int size = SMEM_WEB_SEND_BUFFER;
	int error;

	if (fd < 0)
		return -1;
	(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (info->ai_family == AF_INET6)
		(void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, SMEM_WEB_BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* False with errno set. */
static bool
listen_at(SmemListeners *all, const struct addrinfo *info, bool metrics)
{
	SmemListener *listener = find_listener(all, info);

	if (listener != NULL)
	{
		listener->metrics |= metrics;
		return true;
	}
	listener = free_listener(all);
	if (listener == NULL)
		return false;
	listener->fd = open_socket(info);
	if (listener->fd < 0)
		return false;
	memcpy(&listener->addr, info->ai_addr, info->ai_addrlen);
	listener->addr_len = info->ai_addrlen;
	listener->metrics = metrics;
	listener->pending = false;
	if (!watch(all, listener))
		all->host->broken = true;
	return true;
}

static void
put_off(SmemListeners *all, SmemAddress *address)
{
	SmemRetry retry = {.initial = SMEM_LISTEN_PAUSE, .max = 5 * SMEM_SEC};
	SmemTime  delay = smem_retry_delay(&retry, ++address->failures, smem_random());

	address->retry_at = all->host->now + smem_time_max(delay, SMEM_LISTEN_PAUSE);
}

static void
fail(SmemListeners *all, SmemAddress *address, const char *why)
{
	smem_error_set(&address->error, SMEM_ERROR_SYSTEM, true,
				   "could not listen on address \"%s\" (somamem.%s): %s",
				   smem_buf_text(&address->text), address->setting, why);
	put_off(all, address);
}

/* A family that this machine does not have is no trouble while another is served. */
static void
listen_on_all(SmemListeners *all, SmemAddress *address, const struct addrinfo *list)
{
	int served = 0;
	int error = 0;
	int missing = 0;

	for (const struct addrinfo *info = list; info != NULL; info = info->ai_next)
	{
		if (listen_at(all, info, address->metrics))
			served++;
		else if (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT)
			missing = errno;
		else
			error = errno;
	}
	if (error == 0 && served == 0)
		error = missing;
	if (error != 0)
	{
		fail(all, address, strerror(error));
		return;
	}
	address->done = true;
	address->failures = 0;
	address->retry_at = SMEM_TIME_NEVER;
	address->error.kind = SMEM_ERROR_NONE;
}

/* A number needs no lookup. */
static bool
listen_on_number(SmemListeners *all, SmemAddress *address)
{
	struct addrinfo	 hints = {.ai_socktype = SOCK_STREAM,
							  .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *list;

	if (getaddrinfo(address->place.host, address->place.port, &hints, &list) != 0)
		return false;
	listen_on_all(all, address, list);
	freeaddrinfo(list);
	return true;
}

static void
begin_lookup(SmemListeners *all, SmemAddress *address)
{
	SmemLookup *lookup = smem_alloc(sizeof(*lookup));

	if (lookup == NULL)
	{
		fail(all, address, strerror(ENOMEM));
		return;
	}
	lookup->place = address->place;
	lookup->hints.ai_socktype = SOCK_STREAM;
	lookup->hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
	lookup->query.ar_name = lookup->place.host;
	lookup->query.ar_service = lookup->place.port;
	lookup->query.ar_request = &lookup->hints;
	lookup->list[0] = &lookup->query;
	if (getaddrinfo_a(GAI_NOWAIT, lookup->list, 1, NULL) != 0)
	{
		smem_release(lookup);
		fail(all, address, "could not start a lookup of the name");
		return;
	}
	address->lookup = lookup;
	address->retry_at = all->host->now + SMEM_LOOKUP_GAP;
}

static void
end_lookup(SmemListeners *all, SmemAddress *address)
{
	SmemLookup *lookup = address->lookup;
	int			rc = gai_error(&lookup->query);

	if (rc == EAI_INPROGRESS)
	{
		address->retry_at = all->host->now + SMEM_LOOKUP_GAP;
		return;
	}
	address->lookup = NULL;
	if (rc == 0)
		listen_on_all(all, address, lookup->query.ar_result);
	else
		fail(all, address, gai_strerror(rc));
	if (lookup->query.ar_result != NULL)
		freeaddrinfo(lookup->query.ar_result);
	smem_release(lookup);
}

static void
release_held(SmemListeners *all)
{
	all->held = false;
	all->held_until = SMEM_TIME_NEVER;
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
	{
		if (all->socket[i].fd >= 0 && !watch(all, &all->socket[i]))
			all->host->broken = true;
	}
}

void
smem_listeners_tick(SmemListeners *all)
{
	if (all->held && all->held_until <= all->host->now)
		release_held(all);
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
	{
		SmemAddress *address = &all->address[i];

		if (address->retry_at > all->host->now)
			continue;
		if (address->lookup != NULL)
			end_lookup(all, address);
		else if (!listen_on_number(all, address))
			begin_lookup(all, address);
	}
}

SmemTime
smem_listeners_next(const SmemListeners *all)
{
	SmemTime next = all->held_until;

	for (int i = 0; i < SMEM_WEB_SOCKETS && !all->held; i++)
	{
		if (all->socket[i].fd >= 0 && all->socket[i].pending)
			return all->host->now;
	}
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
		next = smem_time_min(next, all->address[i].retry_at);
	return next;
}

/* The system has no descriptor: who wants to connect waits, and the loop does not turn for it. */
static void
hold(SmemListeners *all)
{
	all->held = true;
	all->held_until = all->host->now + SMEM_ACCEPT_PAUSE;
	for (int i = 0; i < SMEM_WEB_SOCKETS; i++)
	{
		if (all->socket[i].fd >= 0)
			smem_loop_unwatch(all->host->loop, all->socket[i].fd);
	}
}

int
smem_listeners_accept(SmemListeners *all, bool *metrics)
{
	for (int i = 0; i < SMEM_WEB_SOCKETS && !all->held; i++)
	{
		SmemListener *listener = &all->socket[i];

		while (listener->fd >= 0 && listener->pending && !all->held)
		{
			int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

			*metrics = listener->metrics;
			if (fd >= 0)
				return fd;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				listener->pending = false;
			else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				hold(all);
		}
	}
	return -1;
}

bool
smem_listeners_state(const SmemListeners *all, char *text, size_t size)
{
	bool   all_served = true;
	size_t n = 0;

	text[0] = '\0';
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
	{
		const SmemError *error = &all->address[i].error;

		if (error->kind == SMEM_ERROR_NONE)
			continue;
		all_served = false;
		n += (size_t) snprintf(text + n, size - n, "%s%s", n > 0 ? "; " : "", error->text);
		if (n >= size)
			break;
	}
	return all_served;
}

bool
smem_listeners_begin(const SmemListeners *all)
{
	for (int i = 0; i < SMEM_WEB_ADDRESSES; i++)
	{
		if (all->address[i].lookup != NULL)
			return true;
	}
	return false;
}
