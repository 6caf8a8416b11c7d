#include "courier/link.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define SMEM_LINK_READ ((size_t) 128 * 1024)
#define SMEM_LINK_KEEP ((size_t) 1024 * 1024) /* what an idle buffer may hold on to */
#define SMEM_LINK_OUT_MAX ((size_t) 128 * 1024 * 1024)
#define SMEM_LINK_OUT_FULL ((size_t) 4 * 1024 * 1024) /* no more rows are read above this */
#define SMEM_LINK_STATE_GAP (100 * SMEM_MSEC)

static void
note_event(void *arg, int fd, uint32_t events)
{
	SmemLink *link = arg;

	(void) fd;
	if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) && (link->events & EPOLLIN) == 0)
		link->over = true;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link->readable = true;
}

static void
watch(SmemLink *link, uint32_t events)
{
	if (events == link->events)
		return;
	link->events = events;
	if (!smem_loop_watch(link->host->loop, link->fd, events, note_event, link))
		link->over = true;
}

void
smem_link_open(SmemLink *link, SmemHost *host, int fd)
{
	memset(link, 0, sizeof(*link));
	link->host = host;
	link->fd = fd;
	smem_buf_init(&link->in, SMEM_FRAME_MAX + SMEM_LINK_READ);
	smem_buf_init(&link->out, SMEM_LINK_OUT_MAX);
	smem_buf_init(&link->state_sent, SMEM_LINK_KEEP);
	smem_buf_init(&link->state_now, SMEM_LINK_KEEP);
	watch(link, EPOLLIN | EPOLLRDHUP);
}

void
smem_link_close(SmemLink *link)
{
	smem_loop_unwatch(link->host->loop, link->fd);
	smem_buf_free(&link->in);
	smem_buf_free(&link->out);
	smem_buf_free(&link->state_sent);
	smem_buf_free(&link->state_now);
}

bool
smem_link_read(SmemLink *link)
{
	char   *place;
	ssize_t n;

	if (!link->readable || link->over)
		return false;
	place = smem_buf_reserve(&link->in, SMEM_LINK_READ);
	if (place == NULL)
	{
		link->over = true;
		return false;
	}
	n = recv(link->fd, place, SMEM_LINK_READ, MSG_DONTWAIT);
	if (n > 0)
	{
		link->in.end += (size_t) n;
		return true;
	}
	link->readable = false;
	if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		link->over = true;
	return false;
}

bool
smem_link_frame(SmemLink *link, uint8_t *type, SmemReader *rd)
{
	switch (smem_frame_next(&link->in, type, rd))
	{
		case SMEM_FRAME_READY:
			return true;
		case SMEM_FRAME_REFUSED:
			link->over = true;
			break;
		case SMEM_FRAME_PARTIAL:
			break;
	}
	return false;
}

void
smem_link_done(SmemLink *link)
{
	smem_buf_consume(&link->in, smem_frame_size(&link->in));
	smem_buf_trim(&link->in, SMEM_LINK_KEEP);
}

void
smem_link_hello(SmemLink *link)
{
	size_t mark = smem_frame_begin(&link->out, SMEM_FRAME_HELLO);

	smem_put_u32(&link->out, SMEM_FRAME_VERSION);
	smem_frame_end(&link->out, mark);
}

void
smem_link_pong(SmemLink *link, uint64_t number)
{
	smem_frame_number(&link->out, SMEM_FRAME_PONG, number);
}

static void
queue_outcomes(SmemLink *link)
{
	SmemHost *host = link->host;
	size_t	  mark;

	if (host->outcome_count == 0)
		return;
	mark = smem_frame_begin(&link->out, SMEM_FRAME_OUTCOMES);
	smem_put_u32(&link->out, host->outcome_count);
	smem_buf_append(&link->out, smem_buf_head(host->outcomes), smem_buf_len(host->outcomes));
	smem_frame_end(&link->out, mark);
	smem_buf_consume(host->outcomes, smem_buf_len(host->outcomes));
	smem_buf_trim(host->outcomes, SMEM_LINK_KEEP);
	host->outcome_count = 0;
}

void
smem_link_outcomes(SmemLink *link)
{
	SmemBuf *frames = link->host->frames;

	if (link->host->outcomes->failed || frames->failed)
		link->over = true;
	queue_outcomes(link);
	if (smem_buf_len(frames) == 0)
		return;
	smem_buf_append(&link->out, smem_buf_head(frames), smem_buf_len(frames));
	smem_buf_reset(frames);
}

static bool
state_changed(SmemLink *link)
{
	size_t len = smem_buf_len(&link->state_now);

	return len != smem_buf_len(&link->state_sent) ||
		   memcmp(smem_buf_head(&link->state_now), smem_buf_head(&link->state_sent), len) != 0;
}

/* Whoever asked for a pause waits for its begin, and then for the end of what is on the wire. */
static bool
is_awaited(const SmemLink *link, const SmemSinkState *state)
{
	return state->paused != link->told_paused ||
		   (state->paused && link->told_busy && state->in_flight == 0);
}

SmemTime
smem_link_state(SmemLink *link, const SmemSinkState *state)
{
	SmemBuf swap;

	smem_buf_reset(&link->state_now);
	smem_frame_state(&link->state_now, state);
	if (!state_changed(link))
		return SMEM_TIME_NEVER;
	if (link->host->now < link->state_due && !is_awaited(link, state))
		return link->state_due;
	smem_buf_append(&link->out, smem_buf_head(&link->state_now), smem_buf_len(&link->state_now));
	swap = link->state_sent;
	link->state_sent = link->state_now;
	link->state_now = swap;
	link->told_paused = state->paused;
	link->told_busy = state->in_flight > 0;
	link->state_due = link->host->now + SMEM_LINK_STATE_GAP;
	return SMEM_TIME_NEVER;
}

void
smem_link_flush(SmemLink *link, bool want_rows)
{
	uint32_t events = EPOLLRDHUP;

	while (smem_buf_len(&link->out) > 0 && !link->over)
	{
		ssize_t n = send(link->fd, smem_buf_head(&link->out), smem_buf_len(&link->out),
						 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			smem_buf_consume(&link->out, (size_t) n);
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		{
			events |= EPOLLOUT;
			break;
		}
		else if (n < 0 && errno != EINTR)
			link->over = true;
	}
	smem_buf_trim(&link->out, SMEM_LINK_KEEP);
	if (link->out.failed)
		link->over = true;
	if (want_rows && smem_buf_len(&link->out) < SMEM_LINK_OUT_FULL)
		events |= EPOLLIN;
	watch(link, events);
}
