/*
 * HTTP requests through libcurl, on the courier's loop.
 *
 * A call is taken with smem_http_begin, its body and headers are filled in,
 * and smem_http_send starts it; its end is told by the callback, once, from
 * within smem_http_tick or a watcher.  The callback must not send.  After the
 * callback the call belongs to the pool again.
 *
 * Certificates are always verified, redirects never followed, nothing but
 * HTTP and HTTPS spoken, no proxy taken from the environment.
 */
#ifndef SMEM_COURIER_HTTP_H
#define SMEM_COURIER_HTTP_H

#include "courier/sink.h"

typedef enum SmemHttpFault
{
	/* There is a whole answer. */
	SMEM_HTTP_ANSWERED,
	/* No connection came about: nothing was sent. */
	SMEM_HTTP_UNREACHABLE,
	/* No whole answer within the time. */
	SMEM_HTTP_TIMEOUT,
	/* The connection ended before the answer did, or it is no HTTP. */
	SMEM_HTTP_BROKEN,
	/* The answer was longer than allowed. */
	SMEM_HTTP_TOO_LARGE,
	/* This side has no memory or cannot use its settings. */
	SMEM_HTTP_LOCAL
} SmemHttpFault;

typedef struct SmemHttpAnswer
{
	SmemHttpFault fault;
	int			  status; /* 0 where there is no whole answer */
	SmemStr		  body;
	int64_t		  retry_after_s; /* -1: the header is absent or makes no sense */
	SmemTime	  took;
	const char	 *error; /* for people, where there is a fault */
} SmemHttpAnswer;

typedef void (*SmemHttpDone)(void *arg, const SmemHttpAnswer *answer);

typedef struct SmemHttp		SmemHttp;
typedef struct SmemHttpCall SmemHttpCall;

/* NULL when out of memory. */
extern SmemHttp *smem_http_open(SmemHost *host, size_t max_answer_bytes);

/* For the calls that begin from now on. */
extern void smem_http_set_max_answer(SmemHttp *http, size_t bytes);
extern void		 smem_http_close(SmemHttp *http);

/* For the calls that begin from now on; NULL is the system's own list of authorities. */
extern bool smem_http_set_ca_file(SmemHttp *http, const char *path);

/* A call of the pool, with an empty body and no headers; NULL when out of memory. */
extern SmemHttpCall *smem_http_begin(SmemHttp *http);
extern SmemBuf		*smem_http_body(SmemHttpCall *call);

/* Adds a header line without its end; false when out of memory. */
extern bool smem_http_header(SmemHttpCall *call, const char *line);

/* Gives a call back that was not sent. */
extern void smem_http_cancel(SmemHttpCall *call);

/*
 * Sends the call as a POST.  fresh: on a new connection, because the others
 * may be dead without knowing it.  False when out of memory; the call is given
 * back, and done is not called.
 */
extern bool smem_http_send(SmemHttpCall *call, const char *url, SmemTime timeout, bool fresh,
						   SmemHttpDone done, void *arg);

/* Does what is due and tells what ended; returns when it is to be called again. */
extern SmemTime smem_http_tick(SmemHttp *http);

#endif
