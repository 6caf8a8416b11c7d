/*
 * Connections: who gets a place, and for how long.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "courier/web.h"

#define SMEM_ACCEPTS_A_TURN 64
#define SMEM_WEB_SPARE 64 /* descriptors for everything else */

/* A header of about 8 kB, and the library's own words beside it. */
#define SMEM_WEB_POOL ((size_t) 10 * 1024)

/* Longer than 10 s, so that a scrape every 10 s does not meet a connection that is about to end. */
#define SMEM_WEB_IDLE_MS 12000
#define SMEM_WEB_TAKE_MS 30000
#define SMEM_WEB_FETCH_MS 2000

static void
note_library(void *arg, int fd, uint32_t events)
{
	(void) fd;
	(void) events;
	((SmemWeb *) arg)->ready = true;
}

static void
free_conn(SmemWebConn *conn)
{
	SmemWeb *web = conn->web;

	if (conn->fetch != NULL)
		smem_web_leave_fetch(conn);
	smem_unlink(&conn->node);
	web->by_fd[conn->fd] = NULL;
	web->count--;
	web->leaving -= conn->leaving;
	smem_release(conn);
}

static void
note_connection(void *arg, struct MHD_Connection *mhd, void **context,
				enum MHD_ConnectionNotificationCode code)
{
	SmemWeb						   *web = arg;
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
	{
		if (*context != NULL)
			free_conn(*context);
		*context = NULL;
		return;
	}
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	*context = web->by_fd[info->connect_fd];
	if (*context != NULL)
		((SmemWebConn *) *context)->mhd = mhd;
}

static void
note_completed(void *arg, struct MHD_Connection *mhd, void **request,
			   enum MHD_RequestTerminationCode code)
{
	SmemWebConn *conn = *request;

	(void) arg;
	(void) mhd;
	(void) code;
	if (conn == NULL)
		return;
	if (conn->fetch != NULL)
		smem_web_leave_fetch(conn);
	smem_web_set_idle(conn);
}

static uint32_t
most_places(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > SMEM_WEB_PLACES + SMEM_WEB_SPARE)
		return SMEM_WEB_PLACES;
	return limit.rlim_cur > 2 * SMEM_WEB_SPARE ? (uint32_t) limit.rlim_cur - SMEM_WEB_SPARE
											   : SMEM_WEB_SPARE;
}

void
smem_web_configure_places(SmemWeb *web, const SmemConfig *config)
{
	/* No setting of the server has these names: they are for tests, which have less time. */
	web->places =
		(uint32_t) smem_config_int(config, "web_places", most_places(), 1, SMEM_WEB_PLACES);
	web->idle_time =
		smem_config_int(config, "web_idle", SMEM_WEB_IDLE_MS, 1, INT32_MAX) * SMEM_MSEC;
	web->take_time =
		smem_config_int(config, "web_take", SMEM_WEB_TAKE_MS, 1, INT32_MAX) * SMEM_MSEC;
	web->fetch_time =
		smem_config_int(config, "web_fetch", SMEM_WEB_FETCH_MS, 1, INT32_MAX) * SMEM_MSEC;
}

bool
smem_web_start(SmemWeb *web)
{
	const union MHD_DaemonInfo *info;

	web->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		smem_web_handle, web, MHD_OPTION_NOTIFY_CONNECTION, note_connection, web,
		MHD_OPTION_NOTIFY_COMPLETED, note_completed, web, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		SMEM_WEB_POOL, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned) (SMEM_WEB_PLACES + SMEM_ACCEPTS_A_TURN), MHD_OPTION_CONNECTION_TIMEOUT, 0U,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (web->daemon == NULL)
		return false;
	info = MHD_get_daemon_info(web->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	web->epoll = info->epoll_fd;
	return smem_loop_watch(web->host->loop, web->epoll, EPOLLIN, note_library, web);
}

void
smem_web_stop(SmemWeb *web)
{
	if (web->daemon == NULL)
		return;
	/* The library stops with nobody suspended. */
	smem_web_release_fetches(web);
	MHD_run(web->daemon);
	smem_loop_unwatch(web->host->loop, web->epoll);
	MHD_stop_daemon(web->daemon);
	web->daemon = NULL;
}

/* The library finds the socket shut, and closes it. */
static void
end_conn(SmemWebConn *conn)
{
	smem_unlink(&conn->node);
	if (conn->leaving)
		return;
	conn->leaving = true;
	conn->web->leaving++;
	conn->web->ready = true;
	(void) shutdown(conn->fd, SHUT_RDWR);
}

/* What it did not take is nothing that the system should keep. */
static void
abort_conn(SmemWebConn *conn)
{
	struct linger none = {.l_onoff = 1, .l_linger = 0};

	(void) setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	end_conn(conn);
}

static SmemWebConn *
oldest(const SmemList *list)
{
	SmemNode *node = smem_list_first(list);

	return node != NULL ? SMEM_HOLDER(node, SmemWebConn, node) : NULL;
}

void
smem_web_end_taker(SmemWeb *web)
{
	SmemWebConn *conn = oldest(&web->taking);

	if (conn != NULL)
		abort_conn(conn);
}

void
smem_web_run(SmemWeb *web)
{
	web->ready = false;
	if (MHD_run(web->daemon) != MHD_YES)
		web->host->broken = true;
}

static bool
has_place(const SmemWeb *web)
{
	return web->count - web->leaving < web->places;
}

static bool
make_room(SmemWeb *web)
{
	if (has_place(web))
		return true;
	/* Some may have hung up, which the library has not seen yet. */
	smem_web_run(web);
	if (has_place(web))
		return true;
	if (!smem_list_empty(&web->idle))
		end_conn(oldest(&web->idle));
	else
		smem_web_end_taker(web);
	/* Those who are left wait for a document: that does not take long. */
	return has_place(web);
}

static void
add_conn(SmemWeb *web, int fd, bool metrics)
{
	struct sockaddr_in nobody = {.sin_family = AF_INET};
	SmemWebConn		  *conn = fd < SMEM_WEB_FDS ? smem_alloc(sizeof(*conn)) : NULL;

	if (conn == NULL)
	{
		close(fd);
		return;
	}
	conn->web = web;
	conn->fd = fd;
	conn->metrics = metrics;
	web->by_fd[fd] = conn;
	web->count++;
	smem_web_set_idle(conn);
	/* Where that fails, the library has closed the socket. */
	if (MHD_add_connection(web->daemon, fd, (struct sockaddr *) &nobody, sizeof(nobody)) !=
			MHD_YES &&
		web->by_fd[fd] == conn)
		free_conn(conn);
}

void
smem_web_accept(SmemWeb *web)
{
	for (int i = 0; i < SMEM_ACCEPTS_A_TURN; i++)
	{
		bool metrics;
		int	 fd = smem_listeners_accept(&web->listeners, &metrics);

		if (fd < 0)
			break;
		if (make_room(web))
			add_conn(web, fd, metrics);
		else
			close(fd);
	}
}

void
smem_web_set_idle(SmemWebConn *conn)
{
	smem_unlink(&conn->node);
	if (conn->leaving)
		return;
	conn->since = conn->web->host->now;
	smem_list_append(&conn->web->idle, &conn->node);
}

void
smem_web_set_taking(SmemWebConn *conn)
{
	smem_unlink(&conn->node);
	if (conn->leaving)
		return;
	conn->since = conn->web->host->now;
	smem_list_append(&conn->web->taking, &conn->node);
}

void
smem_web_end_slow(SmemWeb *web)
{
	SmemTime	 now = web->host->now;
	SmemWebConn *conn;

	while ((conn = oldest(&web->idle)) != NULL && conn->since + web->idle_time <= now)
		end_conn(conn);
	while ((conn = oldest(&web->taking)) != NULL && conn->since + web->take_time <= now)
		abort_conn(conn);
}

SmemTime
smem_web_next_end(const SmemWeb *web)
{
	const SmemWebConn	  *idle = oldest(&web->idle);
	const SmemWebConn	  *taking = oldest(&web->taking);
	SmemTime			   next = SMEM_TIME_NEVER;
	MHD_UNSIGNED_LONG_LONG ms;

	if (idle != NULL)
		next = idle->since + web->idle_time;
	if (taking != NULL)
		next = smem_time_min(next, taking->since + web->take_time);
	if (web->ready || (MHD_get_timeout(web->daemon, &ms) == MHD_YES && ms == 0))
		next = web->host->now;
	return next;
}
