/*
 * somamem-courier: carries rows to one sink, or asks or serves, for one worker.
 *
 * Started as a child with the socket's descriptor as its only argument.  It
 * lives as long as that socket: end of file, a frame that makes no sense or
 * lack of memory end it, and the worker starts another, which gets again what
 * has no outcome.  So nothing here tries to survive; everything is bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "courier/link.h"
#include "courier/sink.h"

#define SMEM_COURIER_FILES 4096 /* a thousand sessions may ask for decisions at once */
#define SMEM_COURIER_MEMORY ((rlim_t) 1024 * 1024 * 1024)
#define SMEM_OUTCOMES_MAX ((size_t) 48 * 1024 * 1024)

/* So often a turn reads: enough for batches to fill, and answers are not kept waiting. */
#define SMEM_READS_A_TURN 8

static const SmemSinkOps *const sinks[] = {
	&smem_somabrain_sink,
	&smem_kafka_sink,
	&smem_opa_sink,
	&smem_web_sink,
};

typedef struct SmemCourier
{
	SmemHost		   host;
	SmemLink		   link;
	SmemBuf			   outcomes;
	SmemBuf			   frames;
	SmemConfig		   config;
	const SmemSinkOps *ops; /* NULL before the first CONFIG */
	void			  *sink;
	bool			   paused;
	bool			   broken;
} SmemCourier;

void
smem_host_outcome(SmemHost *host, const SmemOutcome *out)
{
	SmemOutcome dated = *out;

	if (dated.at_us == 0)
		dated.at_us = host->wall_us;
	smem_put_outcome(host->outcomes, &dated);
	host->outcome_count++;
}

int64_t
smem_host_wall(const SmemHost *host, SmemTime at)
{
	return at == SMEM_TIME_NEVER ? 0 : host->wall_us + (at - host->now);
}

static void
take_time(SmemHost *host)
{
	struct timespec ts;

	host->now = smem_loop_now();
	clock_gettime(CLOCK_REALTIME, &ts);
	host->wall_us = (int64_t) ts.tv_sec * SMEM_SEC + ts.tv_nsec / 1000;
}

/*
 * Signals of the server's shutdown reach the whole process group.  They are
 * the worker's to decide on: it closes the socket when it is done.
 */
static void
ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2};
	sigset_t		 none;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGQUIT, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
set_limit(int resource, rlim_t value)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) != 0)
		return;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < value)
		value = limit.rlim_max;
	limit.rlim_cur = limit.rlim_max = value;
	setrlimit(resource, &limit);
}

/*
 * Gives up what the server's descriptors, privileges and memory could be
 * reached by, and ties this life to the parent's.
 */
static bool
enter_confinement(int fd)
{
	int null = open("/dev/null", O_RDWR);

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_NOFILE, SMEM_COURIER_FILES);
#ifndef __SANITIZE_ADDRESS__
	/* The sanitizer needs address space without end, and looks for leaks from outside. */
	set_limit(RLIMIT_AS, SMEM_COURIER_MEMORY);
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* Standard error stays: what the C library says before it aborts belongs in the log. */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return false;
	if (fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned) fd - 1, 0);
	close_range((unsigned) fd + 1, ~0U, 0);
	return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static void
take_config(SmemCourier *courier, SmemReader *rd)
{
	const char *name;

	if (!smem_config_read(&courier->config, rd))
	{
		courier->broken = true;
		return;
	}
	name = smem_config_text(&courier->config, "sink", "");
	for (size_t i = 0; courier->ops == NULL && i < sizeof(sinks) / sizeof(sinks[0]); i++)
	{
		if (strcmp(sinks[i]->name, name) == 0)
		{
			courier->ops = sinks[i];
			courier->sink = courier->ops->open(&courier->host);
		}
	}
	if (courier->sink == NULL)
		courier->broken = true;
	else
		courier->ops->configure(courier->sink, &courier->config);
}

static void
take_row(SmemCourier *courier, SmemReader *rd)
{
	SmemRow row;

	smem_get_row(rd, &row);
	if (rd->bad || courier->sink == NULL || !courier->ops->accept(courier->sink, &row))
		courier->broken = true;
}

static void
take_pause(SmemCourier *courier, SmemReader *rd)
{
	bool paused = smem_get_u8(rd) != 0;

	if (rd->bad || courier->sink == NULL)
		courier->broken = true;
	else if (paused != courier->paused)
		courier->ops->pause(courier->sink, paused);
	courier->paused = paused;
}

static void
take_recorded(SmemCourier *courier, SmemReader *rd)
{
	uint64_t page = smem_get_u64(rd);

	if (rd->bad || courier->sink == NULL || courier->ops->recorded == NULL ||
		!courier->ops->recorded(courier->sink, page))
		courier->broken = true;
}

static void
take_own_frame(SmemCourier *courier, uint8_t type, SmemReader *rd)
{
	if (courier->sink == NULL || courier->ops->frame == NULL ||
		!courier->ops->frame(courier->sink, type, rd))
		courier->broken = true;
}

static void
take_frame(SmemCourier *courier, uint8_t type, SmemReader *rd)
{
	switch (type)
	{
		case SMEM_FRAME_ROW:
			take_row(courier, rd);
			break;
		case SMEM_FRAME_CONFIG:
			take_config(courier, rd);
			break;
		case SMEM_FRAME_PING:
			smem_link_pong(&courier->link, smem_get_u64(rd));
			break;
		case SMEM_FRAME_TRY_NOW:
			if (courier->sink != NULL)
				courier->ops->try_now(courier->sink);
			break;
		case SMEM_FRAME_RECORDED:
			take_recorded(courier, rd);
			break;
		case SMEM_FRAME_PAUSE:
			take_pause(courier, rd);
			break;
		default:
			take_own_frame(courier, type, rd);
	}
}

static bool
has_room(const SmemCourier *courier)
{
	return courier->sink == NULL || courier->ops->has_room(courier->sink);
}

/* Takes the whole frames that were read; false when the sink has no room for more. */
static bool
take_frames(SmemCourier *courier)
{
	uint8_t	   type;
	SmemReader rd;

	while (!courier->broken && has_room(courier))
	{
		if (!smem_link_frame(&courier->link, &type, &rd))
			return true;
		take_frame(courier, type, &rd);
		smem_link_done(&courier->link);
	}
	return false;
}

/* Takes what the worker sent, as long as the sink has room. */
static void
read_frames(SmemCourier *courier)
{
	for (int i = 0; take_frames(courier) && i < SMEM_READS_A_TURN; i++)
	{
		if (!smem_link_read(&courier->link))
			break;
	}
}

/* One turn; returns when the next is due at the latest. */
static SmemTime
take_turn(SmemCourier *courier)
{
	SmemTime	  deadline = SMEM_TIME_NEVER;
	SmemSinkState state = {0};
	uint8_t		  type;
	SmemReader	  rd;

	read_frames(courier);
	if (courier->sink != NULL && !courier->broken)
	{
		deadline = courier->ops->tick(courier->sink);
		courier->ops->state(courier->sink, &state);
		state.paused = courier->paused;
		smem_link_outcomes(&courier->link);
		deadline = smem_time_min(deadline, smem_link_state(&courier->link, &state));
		courier->broken = courier->host.broken;
	}
	smem_link_flush(&courier->link, has_room(courier));
	/* Frames that waited for room are in no socket that could wake the loop. */
	if (has_room(courier) && smem_link_frame(&courier->link, &type, &rd))
		deadline = courier->host.now;
	return deadline;
}

static void
run(SmemCourier *courier)
{
	SmemTime deadline = SMEM_TIME_NEVER;

	smem_link_hello(&courier->link);
	smem_link_flush(&courier->link, true);
	while (!courier->link.over && !courier->broken)
	{
		if (!smem_loop_wait(courier->host.loop, courier->host.now, deadline))
			break;
		take_time(&courier->host);
		deadline = take_turn(courier);
	}
}

static int
parse_fd(const char *text)
{
	char *end;
	long  fd = strtol(text, &end, 10);

	if (end == text || *end != '\0' || fd <= STDERR_FILENO || fd >= SMEM_COURIER_FILES)
		return -1;
	return (int) fd;
}

int
main(int argc, char **argv)
{
	static SmemCourier courier;
	int				   fd = argc == 2 ? parse_fd(argv[1]) : -1;

	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return 2;
	ignore_signals();
	if (!enter_confinement(fd))
		return 1;
	take_time(&courier.host);
	courier.host.loop = smem_loop_open();
	if (courier.host.loop == NULL)
		return 1;
	courier.host.outcomes = &courier.outcomes;
	courier.host.frames = &courier.frames;
	smem_buf_init(&courier.outcomes, SMEM_OUTCOMES_MAX);
	smem_buf_init(&courier.frames, SMEM_OUTCOMES_MAX);
	smem_config_init(&courier.config);
	smem_link_open(&courier.link, &courier.host, fd);
	run(&courier);
	if (courier.sink != NULL)
		courier.ops->close(courier.sink);
	smem_link_close(&courier.link);
	smem_config_free(&courier.config);
	smem_buf_free(&courier.outcomes);
	smem_buf_free(&courier.frames);
	smem_loop_close(courier.host.loop);
	return courier.broken ? 1 : 0;
}
