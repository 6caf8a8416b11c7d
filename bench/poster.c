/*
 * The bare side of the SomaBrain benchmark: libcurl posting batches, nothing else.
 *
 * Sends the same requests as the courier (batch form, the contract's headers)
 * over kept connections, as fast as the server answers, and prints the rate
 * and the CPU time a row.  Exits 1 when any answer is not 200.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <curl/curl.h>

#include "text.h"

#define BODY_MAX ((size_t) 256 * 1024 * 1024)
#define KEY_MAX 160
#define BATCH_MAX 1000

typedef struct Options
{
	const char *url;
	const char *tenant;
	const char *payloads; /* file of JSON lines; NULL: made up */
	const char *token;
	long		items;
	int			batch;
	int			connections;
	int			payload_bytes;
	int			sessions;
} Options;

typedef struct Poster
{
	Options	 options;
	CURLM	*multi;
	char   **lines; /* payloads to take turns with */
	size_t	 line_count;
	long	 sent;	 /* rows handed to a request */
	long	 done;	 /* rows answered with 200 */
	long	 failed; /* requests answered otherwise */
	long	 requests;
	unsigned run; /* makes keys and request ids of this run unique */
} Poster;

typedef struct Lane
{
	CURL			  *easy;
	struct curl_slist *headers;
	SmemBuf			   body;
	long			   rows;
} Lane;

static double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double) (use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		   (double) (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void
die(const char *what)
{
	fprintf(stderr, "poster: %s\n", what);
	exit(2);
}

static size_t
ignore_answer(char *bytes, size_t size, size_t n, void *arg)
{
	(void) bytes;
	(void) arg;
	return size * n;
}

static void
read_payloads(Poster *poster)
{
	FILE   *file = fopen(poster->options.payloads, "r");
	char   *line = NULL;
	size_t	size = 0;
	size_t	room = 0;
	ssize_t n;

	if (file == NULL)
		die("could not open the payload file");
	while ((n = getline(&line, &size, file)) > 0)
	{
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (poster->line_count == room)
		{
			room = room ? room * 2 : 1024;
			poster->lines = realloc(poster->lines, room * sizeof(char *));
		}
		poster->lines[poster->line_count++] = strdup(line);
	}
	free(line);
	fclose(file);
	if (poster->line_count == 0)
		die("the payload file is empty");
}

/* One payload of about the asked size, in jsonb's spelling. */
static void
make_payload(Poster *poster)
{
	static char text[64 * 1024];
	int			pad = poster->options.payload_bytes - 150;
	int			n;

	if (pad < 10 || pad > (int) sizeof(text) - 400)
		die("payload bytes out of range");
	n = snprintf(text, sizeof(text),
				 "{\"id\": \"m-0001\", \"role\": \"user\", "
				 "\"type\": \"message\", \"tenant\": \"%s\", \"content\": \"",
				 poster->options.tenant);
	memset(text + n, 'x', (size_t) pad);
	snprintf(
		text + n + pad, sizeof(text) - (size_t) (n + pad),
		"\", \"metadata\": {\"timestamp\": \"2024-05-06T07:08:09Z\"}, \"session_id\": \"s-1\"}");
	poster->lines = malloc(sizeof(char *));
	poster->lines[0] = strdup(text);
	poster->line_count = 1;
}

static void
build_body(Poster *poster, Lane *lane, char hex[SMEM_SHA_HEX])
{
	static char		 keys[BATCH_MAX][KEY_MAX];
	static SmemSlice slices[BATCH_MAX];
	const Options	*options = &poster->options;
	long			 i;

	smem_buf_reset(&lane->body);
	smem_buf_printf(&lane->body, "{\"tenant\":\"%s\",\"namespace\":\"wm\",\"items\":[",
					options->tenant);
	for (i = 0; i < lane->rows; i++)
	{
		long		ordinal = poster->sent + i;
		const char *payload = poster->lines[(size_t) ordinal % poster->line_count];

		slices[i].data = keys[i];
		slices[i].len = (size_t) snprintf(
			keys[i], KEY_MAX, "%s/wm/s-%ld/user/2024-05-06T07:08:09Z/%08x%08lx", options->tenant,
			ordinal % options->sessions, poster->run, (unsigned long) ordinal);
		smem_buf_puts(&lane->body, i > 0 ? ",{\"key\":\"" : "{\"key\":\"");
		smem_buf_append(&lane->body, slices[i].data, slices[i].len);
		smem_buf_puts(&lane->body, "\",\"value\":");
		smem_buf_puts(&lane->body, payload);
		smem_buf_putc(&lane->body, '}');
	}
	smem_buf_puts(&lane->body, "]}");
	smem_text_sha256(slices, (size_t) lane->rows, sizeof(SmemSlice), hex);
}

static void
build_headers(Poster *poster, Lane *lane, const char *hex)
{
	char line[512];

	curl_slist_free_all(lane->headers);
	lane->headers = curl_slist_append(NULL, "Content-Type: application/json");
	lane->headers = curl_slist_append(lane->headers, "Expect:");
	snprintf(line, sizeof(line), "X-Tenant-ID: %s", poster->options.tenant);
	lane->headers = curl_slist_append(lane->headers, line);
	snprintf(line, sizeof(line), "X-Request-ID: %08x-%ld", poster->run, poster->requests++);
	lane->headers = curl_slist_append(lane->headers, line);
	snprintf(line, sizeof(line), "Idempotency-Key: %s", hex);
	lane->headers = curl_slist_append(lane->headers, line);
	if (poster->options.token)
	{
		snprintf(line, sizeof(line), "Authorization: Bearer %s", poster->options.token);
		lane->headers = curl_slist_append(lane->headers, line);
	}
	curl_easy_setopt(lane->easy, CURLOPT_HTTPHEADER, lane->headers);
}

/* Sends the next batch over the lane; false when every row was handed out. */
static int
start_request(Poster *poster, Lane *lane)
{
	char hex[SMEM_SHA_HEX];
	long left = poster->options.items - poster->sent;

	if (left <= 0)
		return 0;
	lane->rows = left < poster->options.batch ? left : poster->options.batch;
	build_body(poster, lane, hex);
	build_headers(poster, lane, hex);
	poster->sent += lane->rows;
	curl_easy_setopt(lane->easy, CURLOPT_POSTFIELDS, smem_buf_text(&lane->body));
	curl_easy_setopt(lane->easy, CURLOPT_POSTFIELDSIZE_LARGE,
					 (curl_off_t) smem_buf_len(&lane->body));
	curl_multi_add_handle(poster->multi, lane->easy);
	return 1;
}

static void
open_lane(Poster *poster, Lane *lane)
{
	smem_buf_init(&lane->body, BODY_MAX);
	lane->easy = curl_easy_init();
	curl_easy_setopt(lane->easy, CURLOPT_URL, poster->options.url);
	curl_easy_setopt(lane->easy, CURLOPT_WRITEFUNCTION, ignore_answer);
	curl_easy_setopt(lane->easy, CURLOPT_PRIVATE, (char *) lane);
	curl_easy_setopt(lane->easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(lane->easy, CURLOPT_BUFFERSIZE, 256L * 1024);
}

static void
finish_requests(Poster *poster, int *active)
{
	CURLMsg *msg;
	int		 rest;

	while ((msg = curl_multi_info_read(poster->multi, &rest)) != NULL)
	{
		Lane *lane;
		long  status = 0;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &lane);
		curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		if (msg->data.result == CURLE_OK && status == 200)
			poster->done += lane->rows;
		else
			poster->failed++;
		curl_multi_remove_handle(poster->multi, lane->easy);
		*active += start_request(poster, lane) - 1;
	}
}

static void
run(Poster *poster)
{
	Lane *lanes = calloc((size_t) poster->options.connections, sizeof(Lane));
	int	  active = 0;
	int	  running;
	int	  i;

	poster->multi = curl_multi_init();
	for (i = 0; i < poster->options.connections; i++)
	{
		open_lane(poster, &lanes[i]);
		active += start_request(poster, &lanes[i]);
	}
	while (active > 0)
	{
		curl_multi_perform(poster->multi, &running);
		finish_requests(poster, &active);
		if (active > 0)
			curl_multi_poll(poster->multi, NULL, 0, 1000, NULL);
	}
	for (i = 0; i < poster->options.connections; i++)
	{
		curl_easy_cleanup(lanes[i].easy);
		curl_slist_free_all(lanes[i].headers);
		smem_buf_free(&lanes[i].body);
	}
	curl_multi_cleanup(poster->multi);
	free(lanes);
}

static void
read_options(Options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "u:n:b:c:t:f:s:p:a:")) >= 0)
	{
		switch (option)
		{
			case 'u':
				options->url = optarg;
				break;
			case 'n':
				options->items = atol(optarg);
				break;
			case 'b':
				options->batch = atoi(optarg);
				break;
			case 'c':
				options->connections = atoi(optarg);
				break;
			case 't':
				options->tenant = optarg;
				break;
			case 'f':
				options->payloads = optarg;
				break;
			case 's':
				options->sessions = atoi(optarg);
				break;
			case 'p':
				options->payload_bytes = atoi(optarg);
				break;
			case 'a':
				options->token = optarg;
				break;
			default:
				die("usage: poster -u URL [-n ROWS] [-b BATCH] [-c CONNECTIONS] [-t TENANT] "
					"[-f PAYLOADS] [-s SESSIONS] [-p PAYLOAD_BYTES] [-a TOKEN]");
		}
	}
	if (options->url == NULL || options->batch < 1 || options->batch > BATCH_MAX ||
		options->connections < 1 || options->sessions < 1)
		die("no -u URL, or a number out of range");
}

int
main(int argc, char **argv)
{
	Poster			poster = {.options = {.tenant = "bench",
										  .items = 100000,
										  .batch = 100,
										  .connections = 8,
										  .payload_bytes = 400,
										  .sessions = 1000}};
	struct timespec seed;
	double			wall;
	double			cpu;

	read_options(&poster.options, argc, argv);
	curl_global_init(CURL_GLOBAL_ALL);
	clock_gettime(CLOCK_REALTIME, &seed);
	poster.run = (unsigned) seed.tv_nsec ^ (unsigned) seed.tv_sec << 8;
	if (poster.options.payloads)
		read_payloads(&poster);
	else
		make_payload(&poster);
	wall = seconds_now();
	cpu = cpu_seconds();
	run(&poster);
	wall = seconds_now() - wall;
	cpu = cpu_seconds() - cpu;
	printf("rows %ld failed_requests %ld seconds %.3f rows_per_s %.0f cpu_us_per_row %.2f\n",
		   poster.done, poster.failed, wall, (double) poster.done / wall,
		   cpu * 1e6 / (double) (poster.done ? poster.done : 1));
	return poster.failed > 0;
}
