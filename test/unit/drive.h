/*
 * Drives the courier program over a socket pair, as a worker would.
 *
 * One drive, one courier.  drive_turn writes what waits, reads what came and
 * hands each outcome to the drive's function; everything else is kept as the
 * latest state.  Whoever waits for something calls drive_until with the claim.
 */
#ifndef SMEM_TEST_DRIVE_H
#define SMEM_TEST_DRIVE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/frame.h"

typedef struct Drive Drive;
typedef void (*DriveOutcome)(void *arg, const SmemOutcome *out);
typedef void (*DriveFrame)(void *arg, uint8_t type, SmemReader *rd);

struct Drive
{
	pid_t		  pid;
	int			  fd;
	SmemBuf		  in;
	SmemBuf		  out;
	DriveOutcome  on_outcome;
	DriveFrame	  on_frame; /* COMMITTED, PAGE and FETCH; without it, they are a failure */
	void		 *arg;
	SmemSinkState state; /* last_error is in error */
	char		  error[1024];
	unsigned	  states; /* STATE frames read */
	uint64_t	  pong;
	bool		  hello;
	bool		  over;
};

static inline int64_t
drive_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline void
drive_start(Drive *drive, DriveOutcome fn, void *arg)
{
	const char *program = getenv("SMEM_COURIER");
	int			pair[2];

	memset(drive, 0, sizeof(*drive));
	smem_buf_init(&drive->in, 256 * 1024 * 1024);
	smem_buf_init(&drive->out, 256 * 1024 * 1024);
	drive->on_outcome = fn;
	drive->arg = arg;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	drive->pid = fork();
	if (drive->pid == 0)
	{
		/* dup2 to a number of its own clears the flag that closes it. */
		dup2(pair[1], 100);
		dup2(100, 3);
		execl(program ? program : "build/somamem-courier", "somamem-courier", "3", (char *) NULL);
		_exit(127);
	}
	close(pair[1]);
	drive->fd = pair[0];
	fcntl(drive->fd, F_SETFL, O_NONBLOCK);
}

/* Pairs of name and value, ended by a NULL. */
static inline void
drive_config(Drive *drive, const char *const *pairs)
{
	size_t	 mark = smem_frame_begin(&drive->out, SMEM_FRAME_CONFIG);
	uint32_t n = 0;

	while (pairs[2 * n] != NULL)
		n++;
	smem_put_u32(&drive->out, n);
	for (uint32_t i = 0; i < 2 * n; i++)
		smem_put_str(&drive->out, smem_str(pairs[i]));
	smem_frame_end(&drive->out, mark);
}

static inline void
drive_simple(Drive *drive, SmemFrameType type)
{
	smem_frame_end(&drive->out, smem_frame_begin(&drive->out, type));
}

static inline void
drive_take(Drive *drive, uint8_t type, SmemReader *rd)
{
	SmemOutcome out;

	switch (type)
	{
		case SMEM_FRAME_HELLO:
			drive->hello = smem_get_u32(rd) == SMEM_FRAME_VERSION;
			break;
		case SMEM_FRAME_OUTCOMES:
			for (uint32_t n = smem_get_u32(rd); n > 0; n--)
			{
				smem_get_outcome(rd, &out);
				drive->on_outcome(drive->arg, &out);
			}
			break;
		case SMEM_FRAME_STATE:
			smem_get_state(rd, &drive->state);
			snprintf(drive->error, sizeof(drive->error), "%.*s", (int) drive->state.last_error.len,
					 drive->state.last_error.data ? drive->state.last_error.data : "");
			drive->states++;
			break;
		case SMEM_FRAME_PONG:
			drive->pong = smem_get_u64(rd);
			break;
		case SMEM_FRAME_COMMITTED:
		case SMEM_FRAME_PAGE:
		case SMEM_FRAME_FETCH:
			if (drive->on_frame != NULL)
				drive->on_frame(drive->arg, type, rd);
			else
				drive->over = true;
			break;
		default:
			drive->over = true;
	}
	drive->over |= rd->bad;
}

static inline void
drive_read(Drive *drive)
{
	char	  *place = smem_buf_reserve(&drive->in, 65536);
	ssize_t	   n = recv(drive->fd, place, 65536, 0);
	uint8_t	   type;
	SmemReader rd;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drive->over = true;
	if (n <= 0)
		return;
	drive->in.end += (size_t) n;
	while (smem_frame_next(&drive->in, &type, &rd) == SMEM_FRAME_READY)
	{
		drive_take(drive, type, &rd);
		smem_buf_consume(&drive->in, smem_frame_size(&drive->in));
	}
}

static inline void
drive_write(Drive *drive)
{
	ssize_t n =
		send(drive->fd, smem_buf_head(&drive->out), smem_buf_len(&drive->out), MSG_NOSIGNAL);

	if (n > 0)
		smem_buf_consume(&drive->out, (size_t) n);
	else if (errno != EAGAIN && errno != EINTR)
		drive->over = true;
}

/* Waits at most so long for something to read or write, and does it. */
static inline void
drive_turn(Drive *drive, int timeout_ms)
{
	struct pollfd p = {.fd = drive->fd, .events = POLLIN};

	if (smem_buf_len(&drive->out) > 0)
		p.events |= POLLOUT;
	if (drive->over || poll(&p, 1, timeout_ms) <= 0)
		return;
	if (p.revents & POLLOUT)
		drive_write(drive);
	if (p.revents & (POLLIN | POLLHUP | POLLERR))
		drive_read(drive);
}

/* Closes the socket and returns how the program ended, -1 where it did not within two seconds. */
static inline int
drive_stop(Drive *drive)
{
	int64_t deadline = drive_clock_us() + 2000000;
	int		status = -1;

	close(drive->fd);
	while (waitpid(drive->pid, &status, WNOHANG) == 0)
	{
		if (drive_clock_us() > deadline)
		{
			kill(drive->pid, SIGKILL);
			waitpid(drive->pid, NULL, 0);
			status = -1;
			break;
		}
		poll(NULL, 0, 5);
	}
	smem_buf_free(&drive->in);
	smem_buf_free(&drive->out);
	return status == -1 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
