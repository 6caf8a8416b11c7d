/*
 * A courier between a worker and a SomaBrain that both are this process.
 *
 * The service reads each request, notes it, and asks the case's script what to
 * answer; without a script it accepts.  One thread, one poll: nothing happens
 * that the case does not wait for by bed_until.
 */
#ifndef SMEM_TEST_BRAIN_BED_H
#define SMEM_TEST_BRAIN_BED_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "core/json.h"
#include "drive.h"
#include "tap.h"

#define BED_ROWS 5000
#define BED_CONNS 64
#define BED_ASKS 20000
#define BED_ITEMS 1000
#define BED_PATIENCE_US 20000000

typedef struct Bed Bed;

/* A request as the service saw it. */
typedef struct Ask
{
	int64_t at_us;
	char	path[64];
	SmemStr head; /* gone after the script */
	SmemStr body; /* gone after the script */
	char	tenant[64];
	int		n;				/* rows */
	int		ids[BED_ITEMS]; /* of them, from their keys "k1", "k2", ... */
} Ask;

typedef enum Manner
{
	ACCEPT, /* as the contract says */
	ANSWER, /* status, headers and body as given */
	RAW,	/* body as given, and nothing before it; then the end */
	HANG,	/* nothing, ever */
	RESET	/* the connection ends */
} Manner;

typedef struct Reply
{
	Manner		manner;
	int			status;
	const char *headers;
	const char *body;
	size_t		body_len; /* 0: as long as the text */
} Reply;

typedef Reply (*Script)(Bed *bed, const Ask *ask);

typedef struct Conn
{
	int		fd; /* -1: free */
	bool	hung;
	SmemBuf in;
	SmemBuf out;
} Conn;

typedef struct Result
{
	int		kind;
	int		count;
	int		delay_ms;
	int64_t at_us;
	char class[32];
	char reason[400];
	char receipt[200];
} Result;

/* What is kept of each request. */
typedef struct Note
{
	int64_t at_us;
	int		n;
	int		first; /* id of the first row */
	char	form;  /* b, s, l, or ? */
	char	tenant[64];
	char	request_id[40];
} Note;

struct Bed
{
	Drive  drive;
	int	   listen; /* -1: down */
	int	   port;
	Conn   conns[BED_CONNS];
	Script script;
	int	   knob; /* the script's own */
	int	   asked;
	Note   notes[BED_ASKS];
	int	   busiest; /* requests without an answer at once */
	char   session_of[BED_ROWS][16];
	Result rows[BED_ROWS];
	int	   done;
	int	   kinds[6];
	int	   accepted;
	int	   accepted_ids[BED_ROWS * 4];
};

static void
bed_outcome(void *arg, const SmemOutcome *out)
{
	Bed	   *bed = arg;
	Result *row = &bed->rows[out->id];

	row->kind = out->kind;
	row->count++;
	row->delay_ms = (int) out->delay_ms;
	row->at_us = drive_clock_us();
	snprintf(row->class, sizeof(row->class), "%.*s", (int) out->class.len,
			 out->class.data ? out->class.data : "");
	snprintf(row->reason, sizeof(row->reason), "%.*s", (int) out->reason.len,
			 out->reason.data ? out->reason.data : "");
	snprintf(row->receipt, sizeof(row->receipt), "%.*s", (int) out->receipt.len,
			 out->receipt.data ? out->receipt.data : "");
	bed->done++;
	bed->kinds[out->kind]++;
}

static void
bed_up(Bed *bed)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t) bed->port)};
	socklen_t		   len = sizeof(addr);
	int				   on = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bed->listen = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(bed->listen, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(bed->listen, (struct sockaddr *) &addr, sizeof(addr)) != 0 ||
		listen(bed->listen, 64) != 0 ||
		getsockname(bed->listen, (struct sockaddr *) &addr, &len) != 0)
		abort();
	bed->port = ntohs(addr.sin_port);
}

static void
conn_close(Conn *conn)
{
	close(conn->fd);
	conn->fd = -1;
	smem_buf_free(&conn->in);
	smem_buf_free(&conn->out);
}

static void
bed_down(Bed *bed)
{
	close(bed->listen);
	bed->listen = -1;
	for (int i = 0; i < BED_CONNS; i++)
	{
		if (bed->conns[i].fd >= 0)
			conn_close(&bed->conns[i]);
	}
}

/* Settings: the plain ones, and pairs that end with a NULL. */
static void
bed_configure(Bed *bed, const char *const *more)
{
	const char *pairs[64];
	char		url[64];
	int			n = 0;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", bed->port);
	pairs[n++] = "sink";
	pairs[n++] = "somabrain";
	pairs[n++] = "somabrain_url";
	pairs[n++] = url;
	pairs[n++] = "retry_initial";
	pairs[n++] = "50";
	while (more != NULL && *more != NULL)
		pairs[n++] = *more++;
	pairs[n] = NULL;
	drive_config(&bed->drive, pairs);
}

static inline Bed *
bed_start(Script script, const char *const *more)
{
	Bed *bed = calloc(1, sizeof(*bed));

	for (int i = 0; i < BED_CONNS; i++)
		bed->conns[i].fd = -1;
	bed->script = script;
	bed_up(bed);
	drive_start(&bed->drive, bed_outcome, bed);
	bed_configure(bed, more);
	return bed;
}

#define BED_START(script, ...) bed_start(script, (const char *const[]){__VA_ARGS__, NULL})

/* Returns how the courier ended. */
static int
bed_stop(Bed *bed)
{
	int status = drive_stop(&bed->drive);

	if (bed->listen >= 0)
		bed_down(bed);
	free(bed);
	return status;
}

static SmemRow
bed_row(Bed *bed, int id, const char *tenant, const char *session)
{
	static char key[16];
	static char payload[200];
	SmemRow		row = {
			.id = id,
			.created_us = 1700000000000000,
			.tenant = smem_str(tenant),
			.session = smem_str(session),
			.namespace = smem_str("wm"),
			.role = smem_str("user"),
	};

	snprintf(bed->session_of[id], sizeof(bed->session_of[id]), "%s", session);
	snprintf(key, sizeof(key), "k%d", id);
	snprintf(payload, sizeof(payload),
			 "{\"id\": %d, \"content\": \"a secret that nobody may see\"}", id);
	row.key = smem_str(key);
	row.payload = smem_str(payload);
	return row;
}

static void
bed_send(Bed *bed, const SmemRow *row)
{
	smem_frame_row(&bed->drive.out, row);
}

static inline void
bed_push(Bed *bed, int id, const char *tenant, const char *session)
{
	SmemRow row = bed_row(bed, id, tenant, session);

	bed_send(bed, &row);
}

/* Rows from..to of one tenant, over so many sessions. */
static inline void
bed_push_many(Bed *bed, int from, int to, const char *tenant, int sessions)
{
	char session[16];

	for (int id = from; id <= to; id++)
	{
		snprintf(session, sizeof(session), "s%d", id % sessions);
		bed_push(bed, id, tenant, session);
	}
}

/* The service's side. */

static SmemStr
head_value(SmemStr head, const char *name)
{
	static char value[2048];
	const char *at = head.data;
	SmemStr		s = {NULL, 0};
	size_t		n = strlen(name);

	while ((at = memmem(at, (size_t) (head.data + head.len - at), "\r\n", 2)) != NULL)
	{
		at += 2;
		if ((size_t) (head.data + head.len - at) > n && strncasecmp(at, name, n) == 0 &&
			at[n] == ':')
		{
			sscanf(at + n + 1, " %2047[^\r]", value);
			return smem_str(value);
		}
	}
	return s;
}

static void
note_key(Ask *ask, SmemStr key)
{
	if (ask->n < BED_ITEMS && key.len > 3 && key.data[0] == '"' && key.data[1] == 'k')
		ask->ids[ask->n++] = atoi(key.data + 2);
}

static void
read_items(Ask *ask, SmemStr object)
{
	SmemJsonWalk walk;
	SmemJsonWalk items;
	SmemStr		 name;
	SmemStr		 value;
	SmemStr		 item;

	if (!smem_json_object(object, &walk))
		return;
	while (smem_json_member(&walk, &name, &value))
	{
		if (smem_json_equals(name, smem_str("key")))
			note_key(ask, value);
		else if (smem_json_equals(name, smem_str("tenant")))
			snprintf(ask->tenant, sizeof(ask->tenant), "%.*s", (int) value.len - 2, value.data + 1);
		else if (smem_json_equals(name, smem_str("payload")) && value.len > 7)
			ask->ids[ask->n++] = atoi(value.data + 7);
		else if (smem_json_equals(name, smem_str("items")) && smem_json_array(value, &items))
		{
			while (smem_json_element(&items, &item))
				read_items(ask, item);
		}
	}
}

static void
put_answer(SmemBuf *out, int status, const char *headers, const char *body, size_t len)
{
	smem_buf_printf(out, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n", status, len,
					headers ? headers : "");
	smem_buf_append(out, body, len);
}

static void
accept_ask(Bed *bed, Conn *conn, const Ask *ask)
{
	SmemBuf body;
	bool	batch = strstr(ask->path, "/batch") != NULL;

	smem_buf_init(&body, 1 << 20);
	smem_buf_printf(&body, "{\"ok\": true, \"tenant\": \"%s\", \"namespace\": \"wm\"", ask->tenant);
	if (batch)
		smem_buf_puts(&body, ", \"results\": [");
	for (int i = 0; i < ask->n; i++)
	{
		bed->accepted_ids[bed->accepted++] = ask->ids[i];
		smem_buf_printf(&body,
						"%s\"key\": \"k%d\", \"coordinate\": [%d, 1.50], "
						"\"request_id\": \"r%d\"%s",
						batch ? (i ? ",{" : "{") : ",", ask->ids[i], ask->ids[i], ask->ids[i],
						batch ? "}" : "");
	}
	smem_buf_puts(&body, batch ? "]}" : "}");
	put_answer(&conn->out, 200, NULL, smem_buf_head(&body), smem_buf_len(&body));
	smem_buf_free(&body);
}

static char
name_form(const char *path)
{
	return strstr(path, "/memory/remember/batch") ? 'b'
		   : strstr(path, "/memory/remember")	  ? 's'
		   : strcmp(path, "/remember") == 0		  ? 'l'
												  : '?';
}

static void
note_ask(Bed *bed, const Ask *ask)
{
	Note *note = &bed->notes[bed->asked++ % BED_ASKS];

	note->at_us = ask->at_us;
	note->n = ask->n;
	note->first = ask->n > 0 ? ask->ids[0] : 0;
	note->form = name_form(ask->path);
	snprintf(note->tenant, sizeof(note->tenant), "%s", ask->tenant);
	snprintf(note->request_id, sizeof(note->request_id), "%s",
			 head_value(ask->head, "X-Request-ID").data);
}

static void
answer_ask(Bed *bed, Conn *conn, const Ask *ask)
{
	Reply reply = {.manner = ACCEPT};

	note_ask(bed, ask);
	if (bed->script != NULL)
		reply = bed->script(bed, ask);
	if (reply.body != NULL && reply.body_len == 0)
		reply.body_len = strlen(reply.body);
	switch (reply.manner)
	{
		case ACCEPT:
			accept_ask(bed, conn, ask);
			break;
		case ANSWER:
			put_answer(&conn->out, reply.status, reply.headers, reply.body ? reply.body : "",
					   reply.body_len);
			break;
		case RAW:
			smem_buf_append(&conn->out, reply.body, reply.body_len);
			conn->hung = true;
			break;
		case HANG:
			conn->hung = true;
			break;
		case RESET:
			conn_close(conn);
			break;
	}
}

/* Serves the next whole request of a connection; false when there is none. */
static bool
serve_one(Bed *bed, Conn *conn)
{
	static Ask ask;
	char	  *head = smem_buf_head(&conn->in);
	size_t	   have = smem_buf_len(&conn->in);
	char	  *end = have ? memmem(head, have, "\r\n\r\n", 4) : NULL;
	size_t	   len;
	SmemStr	   value;

	if (end == NULL || conn->hung)
		return false;
	memset(&ask, 0, sizeof(ask));
	ask.head.data = head;
	ask.head.len = (size_t) (end + 4 - head);
	len = strtoul(head_value(ask.head, "Content-Length").data, NULL, 10);
	if (have < ask.head.len + len)
		return false;
	ask.at_us = drive_clock_us();
	ask.body.data = head + ask.head.len;
	ask.body.len = len;
	sscanf(head, "POST %63s", ask.path);
	if (smem_json_check(ask.body, &value))
		read_items(&ask, value);
	len += ask.head.len;
	answer_ask(bed, conn, &ask);
	if (conn->fd >= 0)
		smem_buf_consume(&conn->in, len);
	return conn->fd >= 0;
}

static void
conn_turn(Bed *bed, Conn *conn)
{
	char   *place = smem_buf_reserve(&conn->in, 65536);
	ssize_t n = recv(conn->fd, place, 65536, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN))
	{
		conn_close(conn);
		return;
	}
	if (n > 0)
		conn->in.end += (size_t) n;
	while (serve_one(bed, conn))
		;
	if (conn->fd < 0 || smem_buf_len(&conn->out) == 0)
		return;
	n = send(conn->fd, smem_buf_head(&conn->out), smem_buf_len(&conn->out),
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		smem_buf_consume(&conn->out, (size_t) n);
	if (conn->hung && smem_buf_len(&conn->out) == 0)
		shutdown(conn->fd, SHUT_WR);
}

static void
bed_accept(Bed *bed)
{
	int fd = accept4(bed->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; fd >= 0 && i < BED_CONNS; i++)
	{
		Conn *conn = &bed->conns[i];

		if (conn->fd >= 0)
			continue;
		conn->fd = fd;
		conn->hung = false;
		smem_buf_init(&conn->in, 64 << 20);
		smem_buf_init(&conn->out, 64 << 20);
		return;
	}
	if (fd >= 0)
		abort();
}

static void
bed_turn(Bed *bed, int timeout_ms)
{
	struct pollfd fds[BED_CONNS + 2];
	int			  busy = 0;

	fds[0] = (struct pollfd){.fd = bed->drive.over ? -1 : bed->drive.fd, .events = POLLIN};
	if (smem_buf_len(&bed->drive.out) > 0)
		fds[0].events |= POLLOUT;
	fds[1] = (struct pollfd){.fd = bed->listen, .events = POLLIN};
	for (int i = 0; i < BED_CONNS; i++)
	{
		fds[i + 2] = (struct pollfd){.fd = bed->conns[i].fd, .events = POLLIN};
		if (bed->conns[i].fd >= 0 && smem_buf_len(&bed->conns[i].out) > 0)
			fds[i + 2].events |= POLLOUT;
	}
	poll(fds, BED_CONNS + 2, timeout_ms);
	for (int i = 0; i < BED_CONNS; i++)
	{
		if (bed->conns[i].fd >= 0 && fds[i + 2].revents != 0)
			conn_turn(bed, &bed->conns[i]);
		busy += bed->conns[i].fd >= 0;
	}
	if (busy > bed->busiest)
		bed->busiest = busy;
	if (bed->listen >= 0 && fds[1].revents != 0)
		bed_accept(bed);
	drive_turn(&bed->drive, 0);
}

/* Runs until the claim holds; false when it does not within the patience. */
#define BED_UNTIL(bed, claim)                                                                      \
	({                                                                                             \
		int64_t until_ = drive_clock_us() + BED_PATIENCE_US;                                       \
		while (!(claim) && !(bed)->drive.over && drive_clock_us() < until_)                        \
			bed_turn(bed, 20);                                                                     \
		(claim);                                                                                   \
	})

/* Runs for a while; for claims that something does not happen. */
static inline void
bed_pass(Bed *bed, int ms)
{
	int64_t until = drive_clock_us() + ms * 1000;

	while (drive_clock_us() < until && !bed->drive.over)
		bed_turn(bed, 5);
}

/* Whether each session's rows were accepted in the order of their ids, and none twice. */
static inline bool
bed_ordered(const Bed *bed)
{
	for (int i = 0; i < bed->accepted; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (bed->accepted_ids[j] >= bed->accepted_ids[i] &&
				strcmp(bed->session_of[bed->accepted_ids[j]],
					   bed->session_of[bed->accepted_ids[i]]) == 0)
				return false;
		}
	}
	return true;
}

/* Whether each of the rows has exactly one outcome, of that kind. */
static inline bool
bed_all(const Bed *bed, int from, int to, int kind)
{
	for (int id = from; id <= to; id++)
	{
		if (bed->rows[id].kind != kind || bed->rows[id].count != 1)
			return false;
	}
	return true;
}

/* Forgets outcomes, so that the same rows may be sent again. */
static inline void
bed_forget(Bed *bed)
{
	memset(bed->rows, 0, sizeof(bed->rows));
	memset(bed->kinds, 0, sizeof(bed->kinds));
	bed->done = 0;
}

static inline bool
ask_has(const Ask *ask, int id)
{
	for (int i = 0; i < ask->n; i++)
	{
		if (ask->ids[i] == id)
			return true;
	}
	return false;
}

#endif
