#include "courier/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "core/list.h"
#include "core/retry_after.h"

#define SMEM_HTTP_BODY_MAX ((size_t) 64 * 1024 * 1024)
#define SMEM_HTTP_KEEP ((size_t) 256 * 1024) /* what an idle call's buffer may hold on to */
#define SMEM_HTTP_HEADER_MAX 64
#define SMEM_HTTP_HEAD_MAX ((size_t) 64 * 1024) /* all headers of an answer, interim ones too */

struct SmemHttp
{
	SmemHost *host;
	CURLM	 *multi;
	SmemTime  timer; /* when libcurl wants to be called */
	size_t	  max_answer_bytes;
	SmemBuf	  ca_file;
	uint32_t  generation; /* of the settings that calls are made with */
	SmemList  idle;
	SmemList  busy;
};

struct SmemHttpCall
{
	SmemHttp		  *http;
	SmemNode		   node;
	uint32_t		   generation;
	CURL			  *easy;
	struct curl_slist *headers;
	SmemBuf			   body;
	SmemBuf			   answer;
	size_t			   head_bytes; /* of the answer, so far */
	char			   retry_after[SMEM_HTTP_HEADER_MAX];
	char			   date[SMEM_HTTP_HEADER_MAX];
	char			   error[CURL_ERROR_SIZE];
	SmemHttpDone	   done;
	void			  *arg;
};

static void check_ended(SmemHttp *http);

static void
act(SmemHttp *http, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(http->multi, fd, events, &running);
	check_ended(http);
}

static void
on_ready(void *arg, int fd, uint32_t events)
{
	int flags = 0;

	if (events & (EPOLLIN | EPOLLHUP))
		flags |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		flags |= CURL_CSELECT_ERR;
	act(arg, fd, flags);
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	SmemHttp *http = arg;
	uint32_t  events = 0;

	(void) easy;
	(void) socket_arg;
	if (what == CURL_POLL_REMOVE)
	{
		smem_loop_unwatch(http->host->loop, fd);
		return 0;
	}
	if (what != CURL_POLL_OUT)
		events |= EPOLLIN;
	if (what != CURL_POLL_IN)
		events |= EPOLLOUT;
	return smem_loop_watch(http->host->loop, fd, events, on_ready, http) ? 0 : -1;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	SmemHttp *http = arg;

	(void) multi;
	http->timer = timeout_ms < 0 ? SMEM_TIME_NEVER : http->host->now + timeout_ms * SMEM_MSEC;
	return 0;
}

void
smem_http_set_max_answer(SmemHttp *http, size_t bytes)
{
	http->max_answer_bytes = bytes;
}

SmemHttp *
smem_http_open(SmemHost *host, size_t max_answer_bytes)
{
	SmemHttp *http = smem_alloc(sizeof(*http));

	if (http == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
	{
		smem_release(http);
		return NULL;
	}
	http->host = host;
	http->timer = SMEM_TIME_NEVER;
	http->max_answer_bytes = max_answer_bytes;
	smem_buf_init(&http->ca_file, 64 * 1024);
	smem_list_init(&http->idle);
	smem_list_init(&http->busy);
	http->multi = curl_multi_init();
	if (http->multi == NULL)
	{
		smem_release(http);
		return NULL;
	}
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	return http;
}

static void
free_call(SmemHttpCall *call)
{
	smem_unlink(&call->node);
	curl_slist_free_all(call->headers);
	curl_easy_cleanup(call->easy);
	smem_buf_free(&call->body);
	smem_buf_free(&call->answer);
	smem_release(call);
}

static void
free_calls(SmemList *list)
{
	SmemNode *node;

	while ((node = smem_list_first(list)) != NULL)
	{
		SmemHttpCall *call = SMEM_HOLDER(node, SmemHttpCall, node);

		curl_multi_remove_handle(call->http->multi, call->easy);
		free_call(call);
	}
}

void
smem_http_close(SmemHttp *http)
{
	if (http == NULL)
		return;
	free_calls(&http->busy);
	free_calls(&http->idle);
	curl_multi_cleanup(http->multi);
	smem_buf_free(&http->ca_file);
	smem_release(http);
	curl_global_cleanup();
}

static void
set_ca_file(SmemHttpCall *call)
{
	SmemBuf *path = &call->http->ca_file;

	if (smem_buf_len(path) > 0)
		curl_easy_setopt(call->easy, CURLOPT_CAINFO, smem_buf_text(path));
}

bool
smem_http_set_ca_file(SmemHttp *http, const char *path)
{
	if (strcmp(smem_buf_text(&http->ca_file), path == NULL ? "" : path) == 0)
		return true;
	/* Calls of the pool have the old file: they are made anew when needed. */
	free_calls(&http->idle);
	http->generation++;
	smem_buf_reset(&http->ca_file);
	if (path != NULL)
		smem_buf_puts(&http->ca_file, path);
	return !http->ca_file.failed;
}

static size_t
on_body(char *bytes, size_t size, size_t n, void *arg)
{
	SmemHttpCall *call = arg;

	smem_buf_append(&call->answer, bytes, size * n);
	return call->answer.failed ? 0 : size * n;
}

/* Keeps a header's value where its name is the wanted one. */
static void
keep_header(const char *line, size_t len, const char *name, char *value)
{
	size_t at = strlen(name);

	if (len <= at || strncasecmp(line, name, at) != 0)
		return;
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	if (len - at >= SMEM_HTTP_HEADER_MAX)
		return;
	memcpy(value, line + at, len - at);
	value[len - at] = '\0';
}

static size_t
on_header(char *line, size_t size, size_t n, void *arg)
{
	SmemHttpCall *call = arg;
	size_t		  len = size * n;

	/* libcurl keeps what it shows here, and not every release has a limit of its own. */
	call->head_bytes += len;
	if (call->head_bytes > SMEM_HTTP_HEAD_MAX)
		return 0;
	/* Another status line: what came before belongs to an interim answer. */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		call->retry_after[0] = call->date[0] = '\0';
	else
	{
		keep_header(line, len, "retry-after:", call->retry_after);
		keep_header(line, len, "date:", call->date);
	}
	return len;
}

static void
set_options(SmemHttpCall *call)
{
	CURL *easy = call->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a name server's thread */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "somamem");
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	set_ca_file(call);
}

static SmemHttpCall *
new_call(SmemHttp *http)
{
	SmemHttpCall *call = smem_alloc(sizeof(*call));

	if (call == NULL)
		return NULL;
	call->http = http;
	call->generation = http->generation;
	call->easy = curl_easy_init();
	if (call->easy == NULL)
	{
		smem_release(call);
		return NULL;
	}
	smem_buf_init(&call->body, SMEM_HTTP_BODY_MAX);
	smem_buf_init(&call->answer, http->max_answer_bytes);
	set_options(call);
	return call;
}

SmemHttpCall *
smem_http_begin(SmemHttp *http)
{
	SmemNode *node = smem_list_first(&http->idle);

	if (node == NULL)
		return new_call(http);
	smem_unlink(node);
	return SMEM_HOLDER(node, SmemHttpCall, node);
}

SmemBuf *
smem_http_body(SmemHttpCall *call)
{
	return &call->body;
}

bool
smem_http_header(SmemHttpCall *call, const char *line)
{
	struct curl_slist *headers = curl_slist_append(call->headers, line);

	if (headers == NULL)
		return false;
	call->headers = headers;
	return true;
}

static void
reset_buffer(SmemBuf *buf)
{
	smem_buf_reset(buf);
	smem_buf_trim(buf, SMEM_HTTP_KEEP);
}

void
smem_http_cancel(SmemHttpCall *call)
{
	curl_slist_free_all(call->headers);
	call->headers = NULL;
	reset_buffer(&call->body);
	reset_buffer(&call->answer);
	call->head_bytes = 0;
	call->retry_after[0] = call->date[0] = call->error[0] = '\0';
	smem_unlink(&call->node);
	if (call->generation == call->http->generation)
		smem_list_prepend(&call->http->idle, &call->node);
	else
		free_call(call);
}

bool
smem_http_send(SmemHttpCall *call, const char *url, SmemTime timeout, bool fresh, SmemHttpDone done,
			   void *arg)
{
	CURL *easy = call->easy;

	call->done = done;
	call->arg = arg;
	/* Without this line libcurl asks the server's leave before it sends a large body. */
	if (!smem_http_header(call, "Expect:") || call->body.failed ||
		curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK ||
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers) != CURLE_OK)
	{
		smem_http_cancel(call);
		return false;
	}
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, smem_buf_text(&call->body));
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) smem_buf_len(&call->body));
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) (timeout / SMEM_MSEC));
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) (timeout / SMEM_MSEC));
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
	if (curl_multi_add_handle(call->http->multi, easy) != CURLM_OK)
	{
		smem_http_cancel(call);
		return false;
	}
	smem_list_append(&call->http->busy, &call->node);
	return true;
}

static SmemHttpFault
name_fault(SmemHttpCall *call, CURLcode code)
{
	curl_off_t connected = 0;
	curl_off_t answered = 0;

	switch (code)
	{
		case CURLE_OK:
			return SMEM_HTTP_ANSWERED;
		case CURLE_OPERATION_TIMEDOUT:
			curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
			return connected > 0 ? SMEM_HTTP_TIMEOUT : SMEM_HTTP_UNREACHABLE;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_URL_MALFORMAT:
			return SMEM_HTTP_UNREACHABLE;
		case CURLE_WRITE_ERROR:
			return SMEM_HTTP_TOO_LARGE;
		case CURLE_OUT_OF_MEMORY:
			/* Older releases say so of a header that is longer than they take. */
			curl_easy_getinfo(call->easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
			return answered > 0 ? SMEM_HTTP_TOO_LARGE : SMEM_HTTP_LOCAL;
		default:
			return SMEM_HTTP_BROKEN;
	}
}

/* A date is measured by the server's own clock where it shows it: ours may differ. */
static int64_t
read_retry_after(SmemHttpCall *call)
{
	int64_t now_s = call->http->host->wall_us / SMEM_SEC;
	int64_t delay_s;

	if (call->retry_after[0] == '\0')
		return -1;
	smem_http_date(smem_str(call->date), now_s, &now_s);
	return smem_retry_after(smem_str(call->retry_after), now_s, &delay_s) ? delay_s : -1;
}

static void
end_call(SmemHttpCall *call, CURLcode code)
{
	SmemHttpAnswer answer = {.fault = name_fault(call, code)};
	long		   status = 0;
	curl_off_t	   took = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(call->easy, CURLINFO_TOTAL_TIME_T, &took);
	/* Some first lines pass for HTTP although they have no status. */
	if (answer.fault == SMEM_HTTP_ANSWERED && status == 0)
		answer.fault = SMEM_HTTP_BROKEN;
	answer.status = answer.fault == SMEM_HTTP_ANSWERED ? (int) status : 0;
	answer.body.data = smem_buf_text(&call->answer);
	answer.body.len = smem_buf_len(&call->answer);
	answer.retry_after_s = read_retry_after(call);
	answer.took = took;
	answer.error = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
	curl_multi_remove_handle(call->http->multi, call->easy);
	call->done(call->arg, &answer);
	smem_http_cancel(call);
}

static void
check_ended(SmemHttp *http)
{
	CURLMsg *msg;
	int		 left;

	while ((msg = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		char *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call);
		end_call((SmemHttpCall *) call, msg->data.result);
	}
}

SmemTime
smem_http_tick(SmemHttp *http)
{
	/* Bounded: a timer that libcurl sets to now again and again must not keep the loop here. */
	for (int i = 0; i < 16 && http->timer <= http->host->now; i++)
	{
		http->timer = SMEM_TIME_NEVER;
		act(http, CURL_SOCKET_TIMEOUT, 0);
	}
	return http->timer;
}
