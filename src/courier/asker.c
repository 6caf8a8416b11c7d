#include "courier/asker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"

#define SMEM_ASKERS_MAX 4000
#define SMEM_ASKERS_SPARE 64 /* descriptors for everything else */
#define SMEM_ASKER_READ ((size_t) 64 * 1024)
#define SMEM_ASKER_KEEP ((size_t) 4 * 1024) /* what an idle buffer may hold on to */
#define SMEM_ASKER_OUT ((size_t) 256 * 1024)
#define SMEM_ASKERS_PAUSE (100 * SMEM_MSEC) /* before what the system refused is tried again */
#define SMEM_ACCEPTS_A_TURN 64

struct SmemAskers
{
	SmemHost			*host;
	const SmemAskersOps *ops;
	void				*arg;
	int					 fd;	   /* -1: not listening */
	bool				 pending;  /* somebody may want to connect */
	bool				 watching; /* the loop tells when somebody does */
	SmemTime			 retry_at; /* NEVER, or when to listen or accept again */
	struct stat			 file;	   /* the socket's, to know it again */
	SmemList			 all;
	SmemList			 ready; /* something may be there to read or write */
	uint32_t			 count;
	uint32_t			 max;
	size_t				 bytes; /* of questions, and of frames not yet whole */
	SmemError			 error;
};

struct SmemAsker
{
	SmemAskers *askers;
	SmemNode	node;
	SmemNode	ready;
	int			fd;
	uint32_t	events; /* that the loop watches for */
	bool		left;	/* to be closed */
	uint32_t	waiting;
	SmemList	questions;
	size_t		held; /* bytes of in, as counted */
	SmemBuf		in;
	SmemBuf		out;
};

static void
set_ready(SmemAsker *asker)
{
	if (!smem_linked(&asker->ready))
		smem_list_append(&asker->askers->ready, &asker->ready);
}

/* Called during the wait, when the turn's time is not yet known: notes, and does nothing else. */
static void
note_asker(void *arg, int fd, uint32_t events)
{
	SmemAsker *asker = arg;

	(void) fd;
	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		asker->left = true;
	set_ready(asker);
}

static void
note_listener(void *arg, int fd, uint32_t events)
{
	(void) fd;
	(void) events;
	((SmemAskers *) arg)->pending = true;
}

static void
watch(SmemAsker *asker)
{
	uint32_t events = EPOLLRDHUP;

	if (asker->waiting < SMEM_ASK_WAITING && smem_buf_len(&asker->out) == 0)
		events |= EPOLLIN;
	if (smem_buf_len(&asker->out) > 0)
		events |= EPOLLOUT;
	if (events == asker->events)
		return;
	asker->events = events;
	if (!smem_loop_watch(asker->askers->host->loop, asker->fd, events, note_asker, asker))
		asker->left = true;
}

static void
free_asker(SmemAsker *asker)
{
	SmemAskers *askers = asker->askers;
	SmemNode   *node;

	while ((node = smem_list_first(&asker->questions)) != NULL)
	{
		SmemQuestion *question = SMEM_HOLDER(node, SmemQuestion, of_asker);

		smem_unlink(node);
		/* Counted until it is released: it may be on the wire. */
		question->asker = NULL;
		askers->ops->gone(askers->arg, question);
	}
	askers->bytes -= asker->held;
	askers->count--;
	smem_loop_unwatch(askers->host->loop, asker->fd);
	close(asker->fd);
	smem_unlink(&asker->node);
	smem_unlink(&asker->ready);
	smem_buf_free(&asker->in);
	smem_buf_free(&asker->out);
	smem_release(asker);
	/* There is room for another. */
	askers->retry_at = askers->host->now;
}

static bool
add_asker(SmemAskers *askers, int fd)
{
	SmemAsker *asker = smem_alloc(sizeof(*asker));

	if (asker == NULL)
		return false;
	asker->askers = askers;
	asker->fd = fd;
	smem_list_init(&asker->questions);
	smem_buf_init(&asker->in, SMEM_ASK_MAX + 2 * SMEM_ASKER_READ);
	smem_buf_init(&asker->out, SMEM_ASKER_OUT);
	smem_list_append(&askers->all, &asker->node);
	askers->count++;
	set_ready(asker);
	return true;
}

/*
 * Takes those who want to connect.  Where there are too many, or the system
 * has no descriptor, they wait: the listener is not watched, or the loop would
 * turn without end.
 */
static void
accept_askers(SmemAskers *askers)
{
	SmemTime now = askers->host->now;
	bool	 want = true;

	for (int i = 0; i < SMEM_ACCEPTS_A_TURN && askers->pending && want; i++)
	{
		int fd = -1;

		want = askers->count < askers->max;
		if (want)
			fd = accept4(askers->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0 && !add_asker(askers, fd))
			close(fd);
		if (fd < 0 && want && (errno == EAGAIN || errno == EWOULDBLOCK))
			askers->pending = false;
		else if (fd < 0 && want && errno != ECONNABORTED && errno != EINTR)
			want = false;
	}
	askers->retry_at = want ? SMEM_TIME_NEVER : now + SMEM_ASKERS_PAUSE;
	if (want == askers->watching)
		return;
	askers->watching = want;
	if (!want)
		smem_loop_unwatch(askers->host->loop, askers->fd);
	else if (!smem_loop_watch(askers->host->loop, askers->fd, EPOLLIN, note_listener, askers))
		askers->host->broken = true;
}

/* Makes the socket, which only this user can connect to from the moment it is there. */
static bool
bind_socket(int fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = SMEM_ASK_SOCKET};
	mode_t			   mask = umask(0177);
	int				   rc = bind(fd, (struct sockaddr *) &addr, sizeof(addr));

	umask(mask);
	return rc == 0;
}

static void
listen_for_askers(SmemAskers *askers)
{
	/* One that was killed leaves it behind. */
	(void) unlink(SMEM_ASK_SOCKET);
	askers->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (askers->fd >= 0 && bind_socket(askers->fd) && listen(askers->fd, SMEM_ASKERS_MAX) == 0 &&
		stat(SMEM_ASK_SOCKET, &askers->file) == 0)
	{
		askers->pending = true;
		askers->error.kind = SMEM_ERROR_NONE;
		return;
	}
	smem_error_set(&askers->error, SMEM_ERROR_SYSTEM, true, "could not listen on socket \"%s\": %s",
				   SMEM_ASK_SOCKET, strerror(errno));
	if (askers->fd >= 0)
		close(askers->fd);
	askers->fd = -1;
	askers->retry_at = askers->host->now + SMEM_ASKERS_PAUSE;
}

static uint32_t
most_askers(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
		limit.rlim_cur > SMEM_ASKERS_MAX + SMEM_ASKERS_SPARE)
		return SMEM_ASKERS_MAX;
	return limit.rlim_cur > 2 * SMEM_ASKERS_SPARE ? (uint32_t) limit.rlim_cur - SMEM_ASKERS_SPARE
												  : SMEM_ASKERS_SPARE;
}

SmemAskers *
smem_askers_open(SmemHost *host, const SmemAskersOps *ops, void *arg)
{
	SmemAskers *askers = smem_alloc(sizeof(*askers));

	if (askers == NULL)
		return NULL;
	askers->host = host;
	askers->ops = ops;
	askers->arg = arg;
	askers->max = most_askers();
	smem_list_init(&askers->all);
	smem_list_init(&askers->ready);
	listen_for_askers(askers);
	return askers;
}

/* Another courier may have made one of its own in the same place. */
static void
remove_socket(const SmemAskers *askers)
{
	struct stat file;

	if (stat(SMEM_ASK_SOCKET, &file) == 0 && file.st_ino == askers->file.st_ino &&
		file.st_dev == askers->file.st_dev)
		(void) unlink(SMEM_ASK_SOCKET);
}

void
smem_askers_close(SmemAskers *askers)
{
	SmemNode *node;

	if (askers == NULL)
		return;
	while ((node = smem_list_first(&askers->all)) != NULL)
		free_asker(SMEM_HOLDER(node, SmemAsker, node));
	if (askers->fd >= 0)
	{
		smem_loop_unwatch(askers->host->loop, askers->fd);
		close(askers->fd);
		remove_socket(askers);
	}
	smem_release(askers);
}

const char *
smem_askers_error(const SmemAskers *askers)
{
	return askers->error.kind == SMEM_ERROR_NONE ? NULL : askers->error.text;
}

/* Counts what the asker's buffer holds; false when that is more than there is room for. */
static bool
count_held(SmemAsker *asker)
{
	SmemAskers *askers = asker->askers;

	askers->bytes -= asker->held;
	asker->held = smem_buf_len(&asker->in);
	askers->bytes += asker->held;
	return askers->bytes <= SMEM_ASKERS_BYTES;
}

static bool
take_ask(SmemAsker *asker, SmemReader *rd)
{
	SmemAskers	 *askers = asker->askers;
	SmemQuestion *question;
	SmemAsk		  ask;

	smem_get_ask(rd, &ask);
	if (rd->bad)
		return false;
	question = smem_alloc(sizeof(*question));
	if (question == NULL)
		return false;
	question->askers = askers;
	question->asker = asker;
	question->number = ask.number;
	smem_buf_init(&question->input, SMEM_ASK_MAX);
	smem_buf_append(&question->input, ask.input.data, ask.input.len);
	if (question->input.failed)
	{
		smem_buf_free(&question->input);
		smem_release(question);
		return false;
	}
	askers->bytes += smem_buf_len(&question->input);
	asker->waiting++;
	smem_list_append(&asker->questions, &question->of_asker);
	askers->ops->take(askers->arg, question, ask.timeout_ms);
	return true;
}

/* Takes the whole frames that were read; false when one makes no sense. */
static bool
take_frames(SmemAsker *asker)
{
	SmemReader rd;
	uint8_t	   type;

	while (asker->waiting < SMEM_ASK_WAITING && smem_buf_len(&asker->out) < SMEM_ASKER_OUT / 2)
	{
		SmemFrameStatus status = smem_frame_next(&asker->in, &type, &rd);

		if (smem_buf_len(&asker->in) >= sizeof(uint32_t) &&
			smem_frame_size(&asker->in) > SMEM_ASK_MAX)
			return false;
		if (status == SMEM_FRAME_PARTIAL)
			return true;
		if (status == SMEM_FRAME_REFUSED || type != SMEM_FRAME_ASK || !take_ask(asker, &rd))
			return false;
		smem_buf_consume(&asker->in, smem_frame_size(&asker->in));
		smem_buf_trim(&asker->in, SMEM_ASKER_KEEP);
	}
	return true;
}

/* Reads and takes; false when there is nothing more to read now. */
static bool
read_asker(SmemAsker *asker)
{
	char   *place = smem_buf_reserve(&asker->in, SMEM_ASKER_READ);
	ssize_t n;

	if (place == NULL)
	{
		asker->left = true;
		return false;
	}
	n = recv(asker->fd, place, SMEM_ASKER_READ, 0);
	if (n > 0)
		asker->in.end += (size_t) n;
	else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		asker->left = true;
	if (n > 0 && !take_frames(asker))
		asker->left = true;
	return n == (ssize_t) SMEM_ASKER_READ && !asker->left;
}

static void
write_asker(SmemAsker *asker)
{
	while (smem_buf_len(&asker->out) > 0 && !asker->left)
	{
		ssize_t n =
			send(asker->fd, smem_buf_head(&asker->out), smem_buf_len(&asker->out), MSG_NOSIGNAL);

		if (n > 0)
			smem_buf_consume(&asker->out, (size_t) n);
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		else if (n < 0 && errno != EINTR)
			asker->left = true;
	}
	smem_buf_trim(&asker->out, SMEM_ASKER_KEEP);
	if (asker->out.failed)
		asker->left = true;
}

/* One asker's turn; true when it wants another at once. */
static bool
serve_asker(SmemAsker *asker)
{
	bool more = false;

	write_asker(asker);
	/* What was read while too many waited. */
	if (!asker->left && !take_frames(asker))
		asker->left = true;
	if (!asker->left && asker->waiting < SMEM_ASK_WAITING && smem_buf_len(&asker->out) == 0)
		more = read_asker(asker);
	smem_buf_trim(&asker->in, SMEM_ASKER_KEEP);
	if (!count_held(asker))
		asker->left = true;
	if (!asker->left)
		watch(asker);
	if (asker->left)
	{
		free_asker(asker);
		return false;
	}
	return more;
}

void
smem_askers_tick(SmemAskers *askers)
{
	SmemTime  now = askers->host->now;
	SmemList  turn;
	SmemNode *node;

	if (askers->fd < 0 && askers->retry_at <= now)
		listen_for_askers(askers);
	if (askers->fd >= 0 && (askers->pending || askers->retry_at <= now))
		accept_askers(askers);
	/* Those who want more wait for the next turn, behind everybody else. */
	smem_list_init(&turn);
	while ((node = smem_list_first(&askers->ready)) != NULL)
	{
		smem_unlink(node);
		smem_list_append(&turn, node);
	}
	while ((node = smem_list_first(&turn)) != NULL)
	{
		SmemAsker *asker = SMEM_HOLDER(node, SmemAsker, ready);

		smem_unlink(node);
		if (serve_asker(asker))
			set_ready(asker);
	}
}

SmemTime
smem_askers_next(const SmemAskers *askers)
{
	if (!smem_list_empty(&askers->ready) || (askers->pending && askers->watching))
		return askers->host->now;
	return askers->retry_at;
}

void
smem_ask_release(SmemQuestion *question)
{
	question->askers->bytes -= smem_buf_len(&question->input);
	smem_unlink(&question->of_asker);
	smem_unlink(&question->node);
	smem_buf_free(&question->input);
	smem_release(question);
}

void
smem_ask_answer(SmemQuestion *question, SmemAskVerdict verdict, SmemStr rule, SmemStr reason)
{
	SmemAskAnswer answer = {
		.number = question->number, .verdict = (uint8_t) verdict, .rule = rule, .reason = reason};
	SmemAsker *asker = question->asker;

	if (asker != NULL)
	{
		smem_frame_answer(&asker->out, &answer);
		write_asker(asker);
		/* What did not go at once, or was not read because too many waited. */
		if (asker->left || smem_buf_len(&asker->out) > 0 || asker->waiting == SMEM_ASK_WAITING)
			set_ready(asker);
		asker->waiting--;
	}
	smem_ask_release(question);
}
