/*
 * One client's connection: read a request, hold it, write the answer, again.
 *
 *   READ ──request──▶ HOLD ──due──▶ WRITE ──done──▶ READ
 *                       └─ a hanging one stays until the client leaves
 *
 * The server calls smem_conn_ready for events and smem_conn_due for the
 * clock; false from either means: close it.
 */
#ifndef STANDIN_CONN_H
#define STANDIN_CONN_H

#include <openssl/ssl.h>

#include "service.h"

typedef enum SmemConnState
{
	SMEM_CONN_READ, /* waits for a whole request */
	SMEM_CONN_HOLD, /* the answer is known and waits for due_ms */
	SMEM_CONN_WRITE /* the answer goes out */
} SmemConnState;

typedef struct SmemConn
{
	int				 fd;
	SSL				*ssl;		   /* NULL without TLS */
	bool			 control_only; /* from the control port: faults do not touch it */
	SmemConnState	 state;
	SmemReply		 reply;
	int64_t			 due_ms;	/* INT64_MAX: the clock brings nothing */
	uint32_t		 wanted;	/* epoll events */
	bool			 continued; /* 100 Continue was sent for the request being read */
	bool			 closes;	/* after the answer */
	SmemBuf			 in;
	SmemBuf			 out;
	struct SmemConn *next;
	struct SmemConn *prev;
} SmemConn;

/* Takes the descriptor over; NULL when out of memory (the descriptor is closed then). */
extern SmemConn *smem_conn_open(int fd, SSL *ssl, bool control_only);

/* Closes with a reset where reset is set. */
extern void smem_conn_close(SmemConn *conn, bool reset);

extern bool smem_conn_ready(SmemConn *conn, SmemService *service, int64_t now_ms);
extern bool smem_conn_due(SmemConn *conn, SmemService *service, int64_t now_ms);

#endif
