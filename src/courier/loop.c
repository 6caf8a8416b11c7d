#include "courier/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"

/* Descriptors are indexes; main sets the limit of open files below this. */
#define SMEM_LOOP_FDS 4096
#define SMEM_LOOP_BATCH 64

typedef struct SmemWatch
{
	SmemWatcher fn; /* NULL: not watched */
	void	   *arg;
	uint32_t	generation; /* tells an event of a former watch from one of this */
} SmemWatch;

struct SmemLoop
{
	int		  epoll;
	SmemWatch watch[SMEM_LOOP_FDS];
};

SmemLoop *
smem_loop_open(void)
{
	SmemLoop *loop = smem_alloc(sizeof(*loop));

	if (loop == NULL)
		return NULL;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
	{
		smem_release(loop);
		return NULL;
	}
	return loop;
}

void
smem_loop_close(SmemLoop *loop)
{
	if (loop == NULL)
		return;
	close(loop->epoll);
	smem_release(loop);
}

bool
smem_loop_watch(SmemLoop *loop, int fd, uint32_t events, SmemWatcher fn, void *arg)
{
	struct epoll_event event = {.events = events};
	SmemWatch		  *watch;
	bool			   fresh;

	if (fd < 0 || fd >= SMEM_LOOP_FDS)
		return false;
	watch = &loop->watch[fd];
	fresh = watch->fn == NULL;
	if (fresh)
		watch->generation++;
	event.data.u64 = (uint64_t) watch->generation << 32 | (uint32_t) fd;
	if (epoll_ctl(loop->epoll, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0)
	{
		/* A library may have closed the descriptor, and been given its number again. */
		if (fresh || errno != ENOENT || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
			return false;
	}
	watch->fn = fn;
	watch->arg = arg;
	return true;
}

void
smem_loop_unwatch(SmemLoop *loop, int fd)
{
	if (fd < 0 || fd >= SMEM_LOOP_FDS || loop->watch[fd].fn == NULL)
		return;
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
	loop->watch[fd].fn = NULL;
}

/* Rounded up: to wake before the time would be to wake twice. */
static int
wait_ms(SmemTime now, SmemTime deadline)
{
	SmemTime ms;

	if (deadline == SMEM_TIME_NEVER)
		return -1;
	if (deadline <= now)
		return 0;
	ms = (deadline - now + SMEM_MSEC - 1) / SMEM_MSEC;
	return ms > 3600 * 1000 ? 3600 * 1000 : (int) ms;
}

bool
smem_loop_wait(SmemLoop *loop, SmemTime now, SmemTime deadline)
{
	struct epoll_event events[SMEM_LOOP_BATCH];
	int				   n = epoll_wait(loop->epoll, events, SMEM_LOOP_BATCH, wait_ms(now, deadline));

	if (n < 0)
		return errno == EINTR;
	for (int i = 0; i < n; i++)
	{
		int		   fd = (int) (events[i].data.u64 & 0xFFFFFFFFu);
		SmemWatch *watch = &loop->watch[fd];

		if (watch->fn != NULL && watch->generation == events[i].data.u64 >> 32)
			watch->fn(watch->arg, fd, events[i].events);
	}
	return true;
}

SmemTime
smem_loop_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (SmemTime) ts.tv_sec * SMEM_SEC + ts.tv_nsec / 1000;
}
