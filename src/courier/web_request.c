/*
 * Requests: what they ask for, and what is refused.
 */
#include <string.h>

#include "courier/web.h"

/* All values of a header, joined by commas; as long as what a header may have. */
#define SMEM_HEADER_MAX ((size_t) 16 * 1024)

static SmemWebConn *
conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info != NULL ? info->socket_context : NULL;
}

/* No database has a name as long as this: what is cut stays unknown. */
#define SMEM_NAME_MAX 64

typedef struct Header
{
	const char *name;
	SmemBuf		values;
	bool		found;
} Header;

static enum MHD_Result
add_value(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	Header *header = arg;

	(void) kind;
	if (value == NULL || strcasecmp(name, header->name) != 0)
		return MHD_YES;
	if (header->found)
		smem_buf_putc(&header->values, ',');
	smem_buf_puts(&header->values, value);
	header->found = true;
	return MHD_YES;
}

/* What the header asks for: a header may come in several lines. */
static bool
asks_for(SmemWebConn *conn, const char *name, bool (*wants)(const char *))
{
	Header header = {.name = name};
	bool   answer;

	smem_buf_init(&header.values, SMEM_HEADER_MAX);
	(void) MHD_get_connection_values(conn->mhd, MHD_HEADER_KIND, add_value, &header);
	answer = wants(header.found ? smem_buf_text(&header.values) : NULL);
	smem_buf_free(&header.values);
	return answer;
}

static bool
has_body(struct MHD_Connection *mhd)
{
	const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");

	return (length != NULL && strcmp(length, "0") != 0) ||
		   MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Transfer-Encoding") != NULL;
}

/* The request's header is there.  What is refused now is refused before its body comes. */
static enum MHD_Result
begin(SmemWebConn *conn, const char *method)
{
	conn->gzip = false;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return smem_web_say(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n", true);
	if (has_body(conn->mhd))
		return smem_web_say(conn, MHD_HTTP_CONTENT_TOO_LARGE, "no body is taken\n", true);
	return MHD_YES;
}

static enum MHD_Result
fetch(SmemWebConn *conn, SmemWebDocument document)
{
	SmemFetch what = {.document = (uint8_t) document};

	if (document == SMEM_WEB_METRICS)
		what.openmetrics = asks_for(conn, "Accept", smem_web_wants_openmetrics);
	if (document == SMEM_WEB_HEALTH)
		(void) MHD_lookup_connection_value_n(conn->mhd, MHD_GET_ARGUMENT_KIND, "database",
											 strlen("database"), &what.database.data,
											 &what.database.len);
	if (what.database.len > SMEM_NAME_MAX)
		what.database.len = SMEM_NAME_MAX;
	if (document != SMEM_WEB_READY)
		conn->gzip = asks_for(conn, "Accept-Encoding", smem_web_wants_gzip);
	if (!smem_web_join(conn, &what))
		return smem_web_say(conn, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests at once\n",
							false);
	return MHD_YES;
}

static enum MHD_Result
give(SmemWebConn *conn, struct MHD_Response *response)
{
	smem_web_set_taking(conn);
	return MHD_queue_response(conn->mhd, MHD_HTTP_OK, response);
}

static enum MHD_Result
serve(SmemWebConn *conn, const char *url)
{
	SmemWebPath path = smem_web_path(url, conn->metrics);

	switch (path)
	{
		case SMEM_PATH_PAGE:
		case SMEM_PATH_PAGE_SCRIPT:
		case SMEM_PATH_BANNER:
		case SMEM_PATH_STATE:
			return give(conn, conn->web->file[path]);
		case SMEM_PATH_LIVE:
			return give(conn, conn->web->live);
		case SMEM_PATH_HEALTH:
			return fetch(conn, SMEM_WEB_HEALTH);
		case SMEM_PATH_METRICS:
			return fetch(conn, SMEM_WEB_METRICS);
		case SMEM_PATH_READY:
			return fetch(conn, SMEM_WEB_READY);
		default:
			return smem_web_say(conn, MHD_HTTP_NOT_FOUND, "not found\n", false);
	}
}

enum MHD_Result
smem_web_handle(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
				const char *version, const char *upload, size_t *upload_size, void **request)
{
	SmemWebConn *conn = conn_of(mhd);

	(void) arg;
	(void) version;
	(void) upload;
	if (conn == NULL || *upload_size != 0)
		return MHD_NO;
	if (*request == NULL)
	{
		*request = conn;
		return begin(conn, method);
	}
	if (conn->fetch != NULL)
		return smem_web_answer_fetched(conn);
	return serve(conn, url);
}
