/*
 * The addresses that are served: names are resolved, sockets are opened, and
 * what fails is tried again.
 *
 * A name is resolved beside this thread.  An address may stand for several
 * sockets, and a socket for two addresses, where both are the same.
 */
#ifndef SMEM_COURIER_WEB_LISTEN_H
#define SMEM_COURIER_WEB_LISTEN_H

#include <sys/socket.h>

#include "core/error.h"
#include "courier/sink.h"
#include "courier/web_text.h"

#define SMEM_WEB_ADDRESSES 2
#define SMEM_WEB_SOCKETS 16

typedef struct SmemLookup SmemLookup;

/* One setting. */
typedef struct SmemAddress
{
	const char	*setting;
	SmemBuf		 text; /* as set; empty: none */
	SmemWebPlace place;
	bool		 usable;
	bool		 metrics; /* serves /metrics */
	bool		 done;	  /* all of its sockets listen */
	SmemTime	 retry_at;
	uint32_t	 failures;
	SmemLookup	*lookup; /* NULL: none is under way */
	SmemError	 error;
} SmemAddress;

typedef struct SmemListener
{
	int						fd; /* -1: none */
	bool					pending;
	bool					metrics;
	struct sockaddr_storage addr;
	socklen_t				addr_len;
} SmemListener;

typedef struct SmemListeners
{
	SmemHost	*host;
	SmemAddress	 address[SMEM_WEB_ADDRESSES];
	SmemListener socket[SMEM_WEB_SOCKETS];
	bool		 held; /* nobody is accepted for now: the system has no descriptor */
	SmemTime	 held_until;
} SmemListeners;

extern void smem_listeners_init(SmemListeners *all, SmemHost *host);
extern void smem_listeners_close(SmemListeners *all);

/* What is served already stays as it is. */
extern void smem_listeners_configure(SmemListeners *all, const SmemConfig *config);

/* Tries what is due. */
extern void		smem_listeners_tick(SmemListeners *all);
extern SmemTime smem_listeners_next(const SmemListeners *all);

/* A connection that waits, and whether it came by an address that serves the metrics; -1: none. */
extern int smem_listeners_accept(SmemListeners *all, bool *metrics);

/* Appends why addresses are not served; true when all are. */
extern bool smem_listeners_state(const SmemListeners *all, char *text, size_t size);

/* Some are still being looked up. */
extern bool smem_listeners_begin(const SmemListeners *all);

#endif
