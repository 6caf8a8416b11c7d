/*
 * Documents: asked of the worker once for all who wait for the same one.
 */
#include <string.h>

#include "courier/web.h"

/* FETCH frames that the worker has not answered, and documents that are held. */
#define SMEM_FETCHES 256

/* The names of databases are the clients' own: they do not take the last places. */
#define SMEM_NAMED_FETCHES 200
#define SMEM_WEB_NAME 256

static bool
is_same(const SmemWebFetch *fetch, const SmemFetch *what)
{
	SmemStr name = what->database;

	return fetch->document == what->document && fetch->openmetrics == what->openmetrics &&
		   fetch->named == smem_str_present(name) &&
		   (!fetch->named ||
			(smem_buf_len(&fetch->database) == name.len &&
			 (name.len == 0 || memcmp(smem_buf_head(&fetch->database), name.data, name.len) == 0)));
}

static SmemFetch
describe(const SmemWebFetch *fetch)
{
	SmemFetch what = {
		.number = fetch->number, .document = fetch->document, .openmetrics = fetch->openmetrics};

	if (fetch->named && smem_buf_len(&fetch->database) > 0)
		what.database = (SmemStr){smem_buf_head(&fetch->database), smem_buf_len(&fetch->database)};
	else if (fetch->named)
		what.database = smem_str("");
	return what;
}

/* The one for the same document that has gone to the worker, or that has not. */
static SmemWebFetch *
find_fetch(SmemWeb *web, const SmemFetch *what, bool sent)
{
	SmemNode *node = smem_list_first(&web->fetches);

	for (; node != NULL; node = smem_list_after(&web->fetches, node))
	{
		SmemWebFetch *fetch = SMEM_HOLDER(node, SmemWebFetch, node);

		if (fetch->sent == sent && is_same(fetch, what))
			return fetch;
	}
	return NULL;
}

static void
free_fetch(SmemWebFetch *fetch)
{
	fetch->web->fetch_count--;
	smem_unlink(&fetch->node);
	smem_buf_free(&fetch->database);
	if (fetch->plain != NULL)
		MHD_destroy_response(fetch->plain);
	if (fetch->gzip != NULL)
		MHD_destroy_response(fetch->gzip);
	smem_release(fetch);
}

static SmemWebFetch *
make_fetch(SmemWeb *web, const SmemFetch *what)
{
	uint32_t	  max = smem_str_present(what->database) ? SMEM_NAMED_FETCHES : SMEM_FETCHES;
	SmemWebFetch *fetch;

	if (web->fetch_count >= max || web->unanswered >= max)
		return NULL;
	fetch = smem_alloc(sizeof(*fetch));
	if (fetch == NULL)
		return NULL;
	fetch->web = web;
	fetch->document = what->document;
	fetch->openmetrics = what->openmetrics;
	fetch->named = smem_str_present(what->database);
	fetch->deadline = web->host->now + web->fetch_time;
	smem_buf_init(&fetch->database, SMEM_WEB_NAME);
	smem_list_init(&fetch->waiters);
	web->fetch_count++;
	smem_list_append(&web->fetches, &fetch->node);
	if (fetch->named)
		smem_buf_append(&fetch->database, what->database.data, what->database.len);
	if (!fetch->database.failed)
		return fetch;
	free_fetch(fetch);
	return NULL;
}

bool
smem_web_join(SmemWebConn *conn, const SmemFetch *what)
{
	SmemWebFetch *fetch = find_fetch(conn->web, what, false);

	if (fetch == NULL)
		fetch = make_fetch(conn->web, what);
	if (fetch == NULL)
		return false;
	conn->fetch = fetch;
	smem_list_append(&fetch->waiters, &conn->of_fetch);
	/* Its time is the document's until that is there. */
	smem_unlink(&conn->node);
	MHD_suspend_connection(conn->mhd);
	return true;
}

void
smem_web_leave_fetch(SmemWebConn *conn)
{
	SmemWebFetch *fetch = conn->fetch;

	smem_unlink(&conn->of_fetch);
	conn->fetch = NULL;
	if (fetch->done && smem_list_empty(&fetch->waiters))
		free_fetch(fetch);
}

enum MHD_Result
smem_web_answer_fetched(SmemWebConn *conn)
{
	SmemWebFetch		*fetch = conn->fetch;
	struct MHD_Response *response = conn->gzip && fetch->gzip != NULL ? fetch->gzip : fetch->plain;
	enum MHD_Result		 result = MHD_NO;

	/* Not the library's to call before. */
	if (!fetch->done)
		return MHD_YES;
	smem_web_set_taking(conn);
	if (response != NULL)
		result = MHD_queue_response(conn->mhd, fetch->status, response);
	smem_web_leave_fetch(conn);
	return result;
}

static SmemWebType
type_of(const SmemWebFetch *fetch, uint32_t status)
{
	if (fetch->document == SMEM_WEB_HEALTH)
		return SMEM_TYPE_JSON;
	if (fetch->document != SMEM_WEB_METRICS || status != MHD_HTTP_OK)
		return SMEM_TYPE_TEXT;
	return fetch->openmetrics ? SMEM_TYPE_OPENMETRICS : SMEM_TYPE_PROMETHEUS;
}

static void
finish_fetch(SmemWebFetch *fetch, uint32_t status, SmemWebType type, SmemStr body)
{
	SmemWeb	 *web = fetch->web;
	SmemNode *node = smem_list_first(&fetch->waiters);
	bool	  gzip = false;

	smem_unlink(&fetch->node);
	smem_list_append(&web->done, &fetch->node);
	fetch->done = true;
	fetch->status = status;
	for (; node != NULL; node = smem_list_after(&fetch->waiters, node))
	{
		SmemWebConn *conn = SMEM_HOLDER(node, SmemWebConn, of_fetch);

		gzip = gzip || conn->gzip;
		MHD_resume_connection(conn->mhd);
	}
	fetch->plain = smem_web_answer(web, type, body);
	if (gzip)
		fetch->gzip = smem_web_answer_gzip(web, type, body);
	web->ready = true;
	if (smem_list_empty(&fetch->waiters))
		free_fetch(fetch);
}

bool
smem_web_take_document(SmemWeb *web, SmemReader *rd)
{
	SmemNode	*node = smem_list_first(&web->fetches);
	SmemDocument document;

	smem_get_document(rd, &document);
	if (rd->bad || web->unanswered == 0)
		return false;
	web->unanswered--;
	for (; node != NULL; node = smem_list_after(&web->fetches, node))
	{
		SmemWebFetch *fetch = SMEM_HOLDER(node, SmemWebFetch, node);

		if (fetch->sent && fetch->number == document.number)
		{
			finish_fetch(fetch, document.status, type_of(fetch, document.status), document.body);
			break;
		}
	}
	/* What comes too late is for nobody. */
	return true;
}

void
smem_web_send_fetches(SmemWeb *web)
{
	SmemNode *node = smem_list_first(&web->fetches);

	for (; node != NULL; node = smem_list_after(&web->fetches, node))
	{
		SmemWebFetch *fetch = SMEM_HOLDER(node, SmemWebFetch, node);
		SmemFetch	  what = describe(fetch);

		/* One that waits behind another takes in everybody who comes until that one is there. */
		if (fetch->sent || find_fetch(web, &what, true) != NULL)
			continue;
		what.number = fetch->number = ++web->number;
		fetch->sent = true;
		web->unanswered++;
		smem_frame_fetch(web->host->frames, &what);
	}
}

void
smem_web_expire_fetches(SmemWeb *web)
{
	SmemNode *node = smem_list_first(&web->fetches);

	while (node != NULL)
	{
		SmemWebFetch *fetch = SMEM_HOLDER(node, SmemWebFetch, node);

		node = smem_list_after(&web->fetches, node);
		if (fetch->deadline <= web->host->now)
			finish_fetch(fetch, MHD_HTTP_SERVICE_UNAVAILABLE, SMEM_TYPE_TEXT,
						 smem_str("the web worker did not answer in time\n"));
	}
}

/* They are in the order of their deadlines. */
SmemTime
smem_web_next_expiry(const SmemWeb *web)
{
	SmemNode *node = smem_list_first(&web->fetches);

	return node != NULL ? SMEM_HOLDER(node, SmemWebFetch, node)->deadline : SMEM_TIME_NEVER;
}

void
smem_web_release_fetches(SmemWeb *web)
{
	SmemNode *node;

	while ((node = smem_list_first(&web->fetches)) != NULL)
		finish_fetch(SMEM_HOLDER(node, SmemWebFetch, node), MHD_HTTP_SERVICE_UNAVAILABLE,
					 SMEM_TYPE_TEXT, smem_str("the server stops\n"));
}
