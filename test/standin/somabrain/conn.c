#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "filler.h"

#define IN_MAX ((size_t) 512 * 1024 * 1024)
#define READ_STEP ((size_t) 256 * 1024)

SmemConn *
smem_conn_open(int fd, SSL *ssl, bool control_only)
{
	SmemConn *conn = calloc(1, sizeof(SmemConn));

	if (conn == NULL)
	{
		SSL_free(ssl);
		close(fd);
		return NULL;
	}
	conn->fd = fd;
	conn->ssl = ssl;
	conn->control_only = control_only;
	conn->due_ms = INT64_MAX;
	conn->wanted = EPOLLIN;
	smem_buf_init(&conn->in, IN_MAX);
	smem_buf_init(&conn->out, IN_MAX);
	return conn;
}

void
smem_conn_close(SmemConn *conn, bool reset)
{
	struct linger linger = {1, 0};

	if (reset)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	SSL_free(conn->ssl);
	close(conn->fd);
	smem_buf_free(&conn->in);
	smem_buf_free(&conn->out);
	free(conn);
}

/* What TLS needs decides the events, whatever direction was asked for. */
static ssize_t
tls_result(SmemConn *conn, int n)
{
	if (n > 0)
		return n;
	switch (SSL_get_error(conn->ssl, n))
	{
		case SSL_ERROR_WANT_READ:
			conn->wanted = EPOLLIN;
			errno = EAGAIN;
			return -1;
		case SSL_ERROR_WANT_WRITE:
			conn->wanted = EPOLLOUT;
			errno = EAGAIN;
			return -1;
		default:
			return 0;
	}
}

static ssize_t
receive(SmemConn *conn, char *into, size_t room)
{
	if (conn->ssl)
		return tls_result(conn, SSL_read(conn->ssl, into, (int) room));
	return recv(conn->fd, into, room, 0);
}

static ssize_t
transmit(SmemConn *conn, const char *from, size_t n)
{
	if (conn->ssl)
		return tls_result(conn, SSL_write(conn->ssl, from, (int) n));
	return send(conn->fd, from, n, MSG_NOSIGNAL);
}

/* Reads what there is; false at the end or after an error. */
static bool
fill(SmemConn *conn)
{
	for (;;)
	{
		char   *place = smem_buf_reserve(&conn->in, READ_STEP);
		ssize_t n;

		if (place == NULL)
			return false;
		n = receive(conn, place, READ_STEP);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		conn->in.end += (size_t) n;
		if ((size_t) n < READ_STEP && conn->ssl == NULL)
			return true;
	}
}

static void
become(SmemConn *conn, SmemConnState state, uint32_t wanted, int64_t due_ms)
{
	conn->state = state;
	conn->wanted = wanted;
	conn->due_ms = due_ms;
}

/* Writes up to limit bytes; false after an error. */
static bool
drain(SmemConn *conn, size_t limit)
{
	while (smem_buf_len(&conn->out) > 0 && limit > 0)
	{
		size_t	n = smem_buf_len(&conn->out) < limit ? smem_buf_len(&conn->out) : limit;
		ssize_t sent;

		conn->wanted = EPOLLOUT;
		sent = transmit(conn, smem_buf_head(&conn->out), n);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		if (sent == 0)
			return false;
		smem_buf_consume(&conn->out, (size_t) sent);
		limit -= (size_t) sent;
	}
	return true;
}

static bool
write_answer(SmemConn *conn, int64_t now_ms)
{
	bool drips = conn->reply.kind == SMEM_FAULT_DRIP;

	if (!drain(conn, drips ? (size_t) conn->reply.drip_bytes : SIZE_MAX))
		return false;
	/* The event comes again: others are served in between. */
	if (smem_buf_len(&conn->out) == 0 && smem_filler_more(&conn->reply, &conn->out))
		return true;
	if (smem_buf_len(&conn->out) == 0)
	{
		if (conn->closes || conn->reply.kind == SMEM_FAULT_TRUNCATED ||
			conn->reply.kind == SMEM_FAULT_GARBAGE)
			return false;
		become(conn, SMEM_CONN_READ, EPOLLIN, INT64_MAX);
	}
	else if (drips)
		become(conn, SMEM_CONN_HOLD, EPOLLRDHUP, now_ms + conn->reply.drip_ms);
	return true;
}

/* Decides what happens with the answer that stands in conn->out. */
static bool
start_answer(SmemConn *conn, int64_t now_ms)
{
	if (conn->reply.kind == SMEM_FAULT_HANG)
		become(conn, SMEM_CONN_HOLD, EPOLLRDHUP, INT64_MAX);
	else if (conn->reply.delay_ms > 0)
		become(conn, SMEM_CONN_HOLD, EPOLLRDHUP, now_ms + conn->reply.delay_ms);
	else if (conn->reply.kind == SMEM_FAULT_RESET)
		return false;
	else
	{
		become(conn, SMEM_CONN_WRITE, EPOLLOUT, INT64_MAX);
		return write_answer(conn, now_ms);
	}
	return true;
}

static void
answer(SmemConn *conn, SmemService *service, const SmemHead *head, int64_t now_ms)
{
	SmemReply plain = {.kind = SMEM_FAULT_NONE};
	SmemSlice body = {smem_buf_head(&conn->in) + head->head_len, head->body_len};

	conn->closes = head->closes;
	conn->continued = false;
	conn->reply = plain;
	if (smem_service_controls(head))
		smem_service_control(service, head, body, now_ms, &conn->out);
	else if (conn->control_only)
		smem_http_answer(&conn->out, 404, "", smem_slice("{\"detail\":\"control port\"}"));
	else
		conn->reply = smem_service_answer(service, head, body, now_ms, &conn->out);
	smem_buf_consume(&conn->in, head->head_len + head->body_len);
	smem_buf_trim(&conn->in, 4 * READ_STEP);
}

/* Answers as many whole requests as there are and as can go out at once. */
static bool
serve(SmemConn *conn, SmemService *service, int64_t now_ms)
{
	while (conn->state == SMEM_CONN_READ && smem_buf_len(&conn->in) > 0)
	{
		SmemSlice	   bytes = {smem_buf_head(&conn->in), smem_buf_len(&conn->in)};
		SmemHead	   head;
		SmemHeadStatus status = smem_http_head(bytes, &head);

		if (status == SMEM_HEAD_REFUSED)
			return false;
		if (status == SMEM_HEAD_PARTIAL)
			return true;
		if (bytes.len < head.head_len + head.body_len)
		{
			if (!head.expects_continue || conn->continued)
				return true;
			conn->continued = true;
			return transmit(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 25;
		}
		answer(conn, service, &head, now_ms);
		if (!start_answer(conn, now_ms))
			return false;
	}
	return true;
}

bool
smem_conn_ready(SmemConn *conn, SmemService *service, int64_t now_ms)
{
	switch (conn->state)
	{
		case SMEM_CONN_READ:
			conn->wanted = EPOLLIN;
			return fill(conn) && serve(conn, service, now_ms);
		case SMEM_CONN_WRITE:
			return write_answer(conn, now_ms) && serve(conn, service, now_ms);
		default:
			/* The only event that a held connection asks for is the client's leaving. */
			return false;
	}
}

bool
smem_conn_due(SmemConn *conn, SmemService *service, int64_t now_ms)
{
	if (conn->reply.kind == SMEM_FAULT_RESET)
		return false;
	become(conn, SMEM_CONN_WRITE, EPOLLOUT, INT64_MAX);
	return write_answer(conn, now_ms) && serve(conn, service, now_ms);
}
