/*
 * Answers: bodies that are shared by all who get them, and their headers.
 */
#include <string.h>
#include <zlib.h>

#include "courier/web.h"

/* Below, a compressed body is no shorter on the wire. */
#define SMEM_GZIP_MIN 1024
#define SMEM_GZIP_LEVEL 1 /* a scrape waits for it */
#define SMEM_GZIP_WINDOW (15 + 16)

/* All that slow clients hold; above it, the slowest goes. */
#define SMEM_WEB_BYTES ((size_t) 64 * 1024 * 1024)

typedef struct SmemBody
{
	SmemWeb *web;
	SmemBuf	 text;
} SmemBody;

static void
free_body(void *arg)
{
	SmemBody *body = arg;

	body->web->bytes -= smem_buf_len(&body->text);
	smem_buf_free(&body->text);
	smem_release(body);
}

static SmemBody *
make_body(SmemWeb *web, size_t max)
{
	SmemBody *body = smem_alloc(sizeof(*body));

	if (body == NULL)
		return NULL;
	body->web = web;
	smem_buf_init(&body->text, max);
	return body;
}

static bool
add_headers(struct MHD_Response *response, SmemWebType type)
{
	static const char *const types[] = {
		[SMEM_TYPE_TEXT] = "text/plain; charset=utf-8",
		[SMEM_TYPE_JSON] = "application/json",
		[SMEM_TYPE_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
		[SMEM_TYPE_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
		[SMEM_TYPE_HTML] = "text/html; charset=utf-8",
		[SMEM_TYPE_SCRIPT] = "text/javascript; charset=utf-8",
	};
	bool metrics = type == SMEM_TYPE_PROMETHEUS || type == SMEM_TYPE_OPENMETRICS;
	bool ok = MHD_add_response_header(response, "Content-Type", types[type]) == MHD_YES &&
			  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES &&
			  MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES;

	if (ok && (metrics || type == SMEM_TYPE_JSON))
		ok = MHD_add_response_header(response, "Vary",
									 metrics ? "Accept, Accept-Encoding" : "Accept-Encoding") ==
			 MHD_YES;
	if (ok && type == SMEM_TYPE_HTML)
		ok = MHD_add_response_header(
				 response, "Content-Security-Policy",
				 "default-src 'none'; script-src 'self'; img-src data:; connect-src 'self';"
				 " base-uri 'none'; form-action 'none';"
				 " frame-ancestors 'none'") == MHD_YES &&
			 MHD_add_response_header(response, "Referrer-Policy", "no-referrer") == MHD_YES;
	return ok;
}

/* Takes the body, also where it fails. */
static struct MHD_Response *
finish(SmemBody *body, SmemWebType type)
{
	SmemWeb				*web = body->web;
	struct MHD_Response *response = NULL;

	web->bytes += smem_buf_len(&body->text);
	if (!body->text.failed)
		response = MHD_create_response_from_buffer_with_free_callback_cls(
			smem_buf_len(&body->text), smem_buf_head(&body->text), free_body, body);
	if (response == NULL)
	{
		free_body(body);
		return NULL;
	}
	if (!add_headers(response, type))
	{
		MHD_destroy_response(response);
		return NULL;
	}
	if (web->bytes > SMEM_WEB_BYTES)
		smem_web_end_taker(web);
	return response;
}

struct MHD_Response *
smem_web_answer(SmemWeb *web, SmemWebType type, SmemStr text)
{
	SmemBody *body = make_body(web, SMEM_FRAME_MAX);

	if (body == NULL)
		return NULL;
	smem_buf_append(&body->text, text.data, text.len);
	return finish(body, type);
}

static bool
compress_text(SmemBuf *out, SmemStr text)
{
	z_stream stream = {0};
	uLong	 bound;
	char	*place;
	bool	 ok = false;

	if (deflateInit2(&stream, SMEM_GZIP_LEVEL, Z_DEFLATED, SMEM_GZIP_WINDOW, MAX_MEM_LEVEL,
					 Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	bound = deflateBound(&stream, text.len);
	place = smem_buf_reserve(out, bound);
	if (place != NULL)
	{
		stream.next_in = (Bytef *) text.data;
		stream.avail_in = (uInt) text.len;
		stream.next_out = (Bytef *) place;
		stream.avail_out = (uInt) bound;
		ok = deflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out < text.len;
		out->end += stream.total_out;
	}
	deflateEnd(&stream);
	return ok;
}

struct MHD_Response *
smem_web_answer_gzip(SmemWeb *web, SmemWebType type, SmemStr text)
{
	SmemBody			*body;
	struct MHD_Response *response;

	if (text.len < SMEM_GZIP_MIN)
		return NULL;
	body = make_body(web, SMEM_FRAME_MAX);
	if (body == NULL)
		return NULL;
	if (!compress_text(&body->text, text))
	{
		smem_buf_free(&body->text);
		smem_release(body);
		return NULL;
	}
	response = finish(body, type);
	if (response != NULL &&
		MHD_add_response_header(response, "Content-Encoding", "gzip") != MHD_YES)
	{
		MHD_destroy_response(response);
		response = NULL;
	}
	return response;
}

enum MHD_Result
smem_web_say(SmemWebConn *conn, unsigned status, const char *text, bool close)
{
	struct MHD_Response *response = smem_web_answer(conn->web, SMEM_TYPE_TEXT, smem_str(text));
	enum MHD_Result		 result = MHD_NO;

	if (response == NULL)
		return MHD_NO;
	if ((!close || MHD_add_response_header(response, "Connection", "close") == MHD_YES) &&
		(status != MHD_HTTP_METHOD_NOT_ALLOWED ||
		 MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES))
	{
		smem_web_set_taking(conn);
		result = MHD_queue_response(conn->mhd, status, response);
	}
	MHD_destroy_response(response);
	return result;
}
