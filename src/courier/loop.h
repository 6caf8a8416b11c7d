/*
 * Waiting for descriptors: a thin layer over epoll.
 *
 * A watcher is called with the events that came (EPOLLIN, EPOLLOUT, ...).  It
 * may watch and unwatch any descriptor, itself too.  Unwatch a descriptor
 * before it is closed.
 */
#ifndef SMEM_COURIER_LOOP_H
#define SMEM_COURIER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/time.h"

typedef struct SmemLoop SmemLoop;
typedef void (*SmemWatcher)(void *arg, int fd, uint32_t events);

/* NULL when the system refuses. */
extern SmemLoop *smem_loop_open(void);
extern void		 smem_loop_close(SmemLoop *loop);

/* Begins, or changes, the watch of a descriptor; false when the system refuses. */
extern bool smem_loop_watch(SmemLoop *loop, int fd, uint32_t events, SmemWatcher fn, void *arg);
extern void smem_loop_unwatch(SmemLoop *loop, int fd);

/* Waits until something is ready or the time has come, and calls the watchers. */
extern bool smem_loop_wait(SmemLoop *loop, SmemTime now, SmemTime deadline);

/* The monotonic clock. */
extern SmemTime smem_loop_now(void);

#endif
