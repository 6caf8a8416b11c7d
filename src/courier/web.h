/*
 * The web sink: HTTP for health and metrics, by libmicrohttpd on this one
 * thread.
 *
 * Connections are ours: they are accepted here and handed to the library,
 * which reads requests and writes answers.  Each has a place; there are
 * SMEM_WEB_PLACES.  One without a whole request, or that does not take its
 * answer, has a time for that, however busy it looks.  When every place is
 * taken, the one that has been idle for longest gives way, else the one that
 * has been taking its answer for longest: nobody can lock a scrape out.
 *
 * A document is fetched from the worker while its requests are suspended.
 * Those who come before a FETCH has gone share it; those who come later might
 * get what was rendered before they asked, and share the next one.  An answer
 * is one body for all who get it.
 *
 * The library is called from the tick alone, so that its callbacks know the
 * turn's time.
 */
#ifndef SMEM_COURIER_WEB_H
#define SMEM_COURIER_WEB_H

#include <microhttpd.h>

#include "core/list.h"
#include "core/web.h"
#include "courier/sink.h"
#include "courier/web_listen.h"

#define SMEM_WEB_PLACES 1024
#define SMEM_WEB_FDS 4096 /* the loop's */

typedef struct SmemWeb		SmemWeb;
typedef struct SmemWebConn	SmemWebConn;
typedef struct SmemWebFetch SmemWebFetch;

/* A document that is asked of the worker, and those who wait for it. */
struct SmemWebFetch
{
	SmemWeb				*web;
	SmemNode			 node;
	uint32_t			 number;
	uint8_t				 document; /* SmemWebDocument */
	bool				 openmetrics;
	bool				 named; /* a database is */
	SmemBuf				 database;
	bool				 sent;
	bool				 done; /* the answers below are for whoever still holds it */
	SmemTime			 deadline;
	SmemList			 waiters;
	struct MHD_Response *plain;
	struct MHD_Response *gzip; /* NULL where nobody wants it, or it is not worth it */
	uint32_t			 status;
};

struct SmemWebConn
{
	SmemWeb				  *web;
	SmemNode			   node; /* in idle, taking, or none */
	int					   fd;
	bool				   metrics; /* came by an address that serves them */
	bool				   leaving; /* shut down, and not yet closed by the library */
	bool				   gzip;	/* the request asks for it */
	SmemTime			   since;
	struct MHD_Connection *mhd; /* NULL before the library has begun with it */
	SmemWebFetch		  *fetch;
	SmemNode			   of_fetch;
};

struct SmemWeb
{
	SmemHost			*host;
	struct MHD_Daemon	*daemon;
	int					 epoll; /* the library's */
	bool				 ready; /* it has something to do */
	SmemListeners		 listeners;
	SmemWebConn			*by_fd[SMEM_WEB_FDS];
	SmemList			 idle;	 /* without a whole request, oldest first */
	SmemList			 taking; /* their answers, oldest first */
	uint32_t			 count;
	uint32_t			 leaving;
	uint32_t			 places;
	SmemTime			 idle_time;
	SmemTime			 fetch_time;
	SmemTime			 take_time;
	SmemList			 fetches; /* not done */
	SmemList			 done;
	uint32_t			 fetch_count; /* of both */
	uint32_t			 unanswered;  /* FETCH frames without a DOCUMENT */
	uint32_t			 number;
	size_t				 bytes; /* of bodies that somebody has not taken yet */
	struct MHD_Response *file[SMEM_PATH_FILES_END];
	struct MHD_Response *live;
};

/* web_conn.c: connections, their places and their times. */

extern bool		smem_web_start(SmemWeb *web);
extern void		smem_web_stop(SmemWeb *web);
extern void		smem_web_configure_places(SmemWeb *web, const SmemConfig *config);
extern void		smem_web_accept(SmemWeb *web);
extern void		smem_web_run(SmemWeb *web);
extern SmemTime smem_web_next_end(const SmemWeb *web);
extern void		smem_web_end_slow(SmemWeb *web);

/* The connection has a whole request, or waits for the next one. */
extern void smem_web_set_taking(SmemWebConn *conn);
extern void smem_web_set_idle(SmemWebConn *conn);

/* Makes room: ends the one that has been taking its answer for longest. */
extern void smem_web_end_taker(SmemWeb *web);

/* web_request.c: what requests ask for. */

extern enum MHD_Result smem_web_handle(void *arg, struct MHD_Connection *mhd, const char *url,
									   const char *method, const char *version, const char *upload,
									   size_t *upload_size, void **request);

/* web_fetch.c: documents from the worker. */

/* Suspends the connection until the document is there; false where too many are asked for. */
extern bool smem_web_join(SmemWebConn *conn, const SmemFetch *what);

/* Queues the answer of the fetch that the connection held, and lets go of it. */
extern enum MHD_Result smem_web_answer_fetched(SmemWebConn *conn);
extern void			   smem_web_leave_fetch(SmemWebConn *conn);
extern bool			   smem_web_take_document(SmemWeb *web, SmemReader *rd);
extern void			   smem_web_send_fetches(SmemWeb *web);
extern void			   smem_web_expire_fetches(SmemWeb *web);
extern SmemTime		   smem_web_next_expiry(const SmemWeb *web);
extern void			   smem_web_release_fetches(SmemWeb *web);

/* web_answer.c: bodies and their headers. */

typedef enum SmemWebType
{
	SMEM_TYPE_TEXT,
	SMEM_TYPE_JSON,
	SMEM_TYPE_PROMETHEUS,
	SMEM_TYPE_OPENMETRICS,
	SMEM_TYPE_HTML,
	SMEM_TYPE_SCRIPT
} SmemWebType;

/* NULL when out of memory; the body is copied. */
extern struct MHD_Response *smem_web_answer(SmemWeb *web, SmemWebType type, SmemStr body);

/* The same compressed; NULL where that is not worth it, too. */
extern struct MHD_Response *smem_web_answer_gzip(SmemWeb *web, SmemWebType type, SmemStr body);

/* Answers with a short text at once; close: and ends the connection. */
extern enum MHD_Result smem_web_say(SmemWebConn *conn, unsigned status, const char *text,
									bool close);

/* web_page.c: what is compiled in. */

extern SmemStr smem_web_file(SmemWebPath path);

#endif
