/*
 * A worker's end of the socket to its courier.
 *
 * Nothing here waits: sending and receiving move what the socket takes, and
 * the worker's one wait (latch, postmaster, this socket) is elsewhere.
 */
#ifndef SMEM_PG_LINK_H
#define SMEM_PG_LINK_H

#include "core/frame.h"

#include <sys/types.h>

typedef struct SmemLink
{
	int		fd; /* -1 while there is no courier */
	pid_t	pid;
	SmemBuf in;
	SmemBuf out;
} SmemLink;

extern void smem_link_init(SmemLink *link);

/* Starts a courier.  False with errno set when that failed. */
extern bool smem_link_open(SmemLink *link);

/* Ends the courier, whatever it is doing, and forgets what was not sent.  Callable twice. */
extern void smem_link_close(SmemLink *link);

/* Sends and receives as far as possible now; false when the courier is gone. */
extern bool smem_link_send(SmemLink *link);
extern bool smem_link_receive(SmemLink *link);

/* The same with any socket that does not block; received is at least a chunk at a time. */
extern bool smem_socket_send(int fd, SmemBuf *out);
extern bool smem_socket_receive(int fd, SmemBuf *in, size_t chunk);

#endif
