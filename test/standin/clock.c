/*
 * A clock that a test sets, preloaded into a server.
 *
 * The file that SMEM_TEST_CLOCK names holds eight bytes: how many seconds the
 * system's clock is ahead.  It is mapped, so every process follows at its next
 * look.  The clock that nobody sets stays what it is.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_s;

__attribute__((constructor)) static void
open_clock(void)
{
	const char *path = getenv("SMEM_TEST_CLOCK");
	int			fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		ahead_s = map;
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	int rc = (int) syscall(SYS_clock_gettime, clock, ts);

	if (rc == 0 && clock == CLOCK_REALTIME && ahead_s != NULL)
		ts->tv_sec += (time_t) *ahead_s;
	return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (at != NULL)
		*at = ts.tv_sec;
	return ts.tv_sec;
}
