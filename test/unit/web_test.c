/* The web sink: who gets which document, who gets a place, and for how long. */
#include "web_bed.h"

#define CROWD 800

static Client clients[CROWD + 16];

static int
count_done(int n)
{
	int done = 0;

	for (int i = 0; i < n; i++)
		done += clients[i].fd >= 0 && client_done(&clients[i]);
	return done;
}

static int
count_over(int n)
{
	int over = 0;

	for (int i = 0; i < n; i++)
		over += clients[i].over;
	return over;
}

static void
close_clients(int n)
{
	for (int i = 0; i < n; i++)
		client_close(&clients[i]);
	memset(clients, 0, sizeof(clients));
}

static void
check_shared(void)
{
	Web *web = web_start(NULL);
	int	 early = 0;
	int	 statuses = 0;

	web->hold = true;
	clients[0] = client_open(web->port);
	client_get(&clients[0], "/metrics");
	tap_ok(WEB_UNTIL(web, clients, 1, web->fetches == 1), "a document is asked of the worker");
	tap_ok(web->last.document == SMEM_WEB_METRICS && !web->last.openmetrics,
		   "the one that is wanted");
	for (int i = 1; i < CROWD; i++)
	{
		clients[i] = client_open(web->port);
		client_get(&clients[i], "/metrics");
	}
	web_release(web);
	tap_ok(WEB_UNTIL(web, clients, CROWD, count_done(CROWD) == CROWD), "all of %d get it", CROWD);
	tap_is_int(client_document(&clients[0]), 1, "the first one the first");
	for (int i = 1; i < CROWD; i++)
	{
		early += client_document(&clients[i]) < 2;
		statuses += client_status(&clients[i]) == 200;
	}
	tap_is_int(early, 0, "nobody gets what was asked for before he came");
	tap_is_int(statuses, CROWD - 1, "each with 200");
	tap_ok(web->fetches < CROWD / 10, "for few renderings: %u", web->fetches);
	close_clients(CROWD);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

static void
check_kinds(void)
{
	Web	  *web = web_start(NULL);
	Client client = client_open(web->port);

	web->hold = true;
	clients[0] = client_open(web->port);
	client_get(&clients[0], "/v1/health");
	clients[1] = client_open(web->port);
	client_get(&clients[1], "/v1/health?database=a%20b");
	clients[2] = client_open(web->port);
	client_get(&clients[2], "/v1/health?database=");
	clients[3] = client_open(web->port);
	client_get(&clients[3], "/readyz");
	tap_ok(WEB_UNTIL(web, clients, 4, web->fetches == 4), "what differs is asked for apart");
	tap_ok(!client_done(&clients[3]), "and waited for");
	web_release(web);
	tap_ok(WEB_UNTIL(web, clients, 4, count_done(4) == 4), "each gets its own");
	client_send(&client, "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain;q=0.5\r\n"
						 "Accept: application/openmetrics-text\r\n\r\n");
	tap_ok(WEB_UNTIL(web, &client, 1, client_done(&client)), "a header in two lines");
	tap_ok(web->last.openmetrics, "is one header");
	tap_ok(strstr(client_text(&client), "Content-Type: application/openmetrics-text; version=1.0.0;"
										" charset=utf-8\r\n") != NULL &&
			   strstr(client_text(&client), "Vary: Accept, Accept-Encoding\r\n") != NULL,
		   "the type is said");
	(void) ask(web, web->port, "/v1/health?database=a%20b");
	tap_ok(strcmp(web->database, "a b") == 0, "a name of a database: \"%s\"", web->database);
	web->status = 503;
	tap_is_int(ask(web, web->port, "/readyz"), 503, "the worker's status is the answer's");
	client_close(&client);
	close_clients(4);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

/* What the worker does not answer. */
static void
check_silence(void)
{
	static const char *const quick[] = {"web_fetch", "600", NULL};
	Web						*web = web_start(quick);
	int						 alive = 0;

	web->forget = true;
	tap_is_int(ask(web, web->port, "/v1/health"), 503, "no answer of the worker: 503");
	tap_is_int(ask(web, web->port, "/livez"), 200, "the courier lives");
	web->forget = false;
	web->hold = true;
	clients[0] = client_open(web->port);
	client_get(&clients[0], "/v1/health");
	tap_ok(WEB_UNTIL(web, clients, 1, client_done(&clients[0])), "again");
	client_close(&clients[0]);
	clients[0] = client_open(web->port);
	client_get(&clients[0], "/v1/health");
	WEB_UNTIL(web, clients, 1, web->nheld == 2);
	web_release(web);
	tap_ok(WEB_UNTIL(web, clients, 1, client_done(&clients[0])), "the next one is in time");
	tap_is_int(client_document(&clients[0]), (int) web->fetches,
			   "with its own document: what came too late is for nobody");
	web->forget = true;
	for (int i = 0; i < 400; i++)
	{
		char path[64];

		clients[i + 1] = client_open(web->port);
		snprintf(path, sizeof(path), "/v1/health?database=%d", i);
		client_get(&clients[i + 1], path);
	}
	tap_ok(WEB_UNTIL(web, clients, 401, count_done(401) == 401), "400 names at once: all answered");
	for (int i = 1; i <= 400; i++)
		alive += client_status(&clients[i]) == 503;
	tap_is_int(alive, 400, "with 503");
	tap_ok(web->fetches <= 204, "the worker is not flooded: %u", web->fetches);
	web->forget = false;
	tap_is_int(ask(web, web->port, "/metrics"), 200, "a scrape is not in their queue");
	close_clients(401);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

/* Without reading: what has come stays where it is. */
static bool
is_hung_up(const Client *client)
{
	struct pollfd p = {.fd = client->fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP)) != 0;
}

/* Half a request, a byte now and then, an answer that is not taken. */
static void
check_slow(void)
{
	static const char *const quick[] = {"web_idle", "1000", "web_take", "1000", NULL};
	Web						*web = web_start(quick);
	int						 sent = 0;

	for (int i = 0; i < 4; i++)
		clients[i] = client_open(web->port);
	client_send(&clients[1], "GET /metr");
	client_get(&clients[2], "/livez");
	/* One byte at a time, for as long as it is let. */
	while (!clients[3].over && sent < 100000)
	{
		client_send(&clients[3], sent == 0 ? "G" : "E");
		sent++;
		for (int i = 0; i < 10; i++)
			drive_turn(&web->drive, 2);
		for (int i = 0; i < 4; i++)
			client_read(&clients[i]);
	}
	tap_ok(clients[3].over, "one that sends a byte at a time is ended: after %d", sent);
	tap_ok(WEB_UNTIL(web, clients, 4, count_over(4) == 4),
		   "so are those who send nothing, half a request, or no second one");
	tap_is_int(client_status(&clients[2]), 200, "which had its answer");
	close_clients(4);
	clients[0] = client_open(web->port);
	for (sent = 0; sent < 8 && !clients[0].over; sent++)
	{
		int64_t end = drive_clock_us() + 150000;

		while (drive_clock_us() < end)
			drive_turn(&web->drive, 20);
		smem_buf_reset(&clients[0].in);
		client_get(&clients[0], "/livez");
		WEB_UNTIL(web, clients, 1, client_done(&clients[0]) || clients[0].over);
	}
	tap_is_int(sent, 8, "who asks now and then has the time anew after each answer");
	tap_ok(client_done(&clients[0]), "and is served to the end");
	close_clients(1);
	web->size = 16 * 1024 * 1024;
	clients[0] = client_open(web->port);
	clients[0].lazy = true;
	client_get(&clients[0], "/metrics");
	tap_ok(WEB_UNTIL(web, clients, 1, web->fetches == 1), "somebody asks and does not read");
	web->size = 0;
	tap_is_int(ask(web, web->port, "/metrics"), 200, "nobody else waits for that");
	tap_ok(WEB_UNTIL(web, NULL, 0, is_hung_up(&clients[0])), "it is ended");
	clients[0].lazy = false;
	WEB_UNTIL(web, clients, 1, clients[0].over);
	tap_ok(!client_done(&clients[0]), "in the middle: %zu bytes", smem_buf_len(&clients[0].in));
	close_clients(1);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

/* Every place is taken, in each of the ways there are. */
static void
check_places(void)
{
	static const char *const few[] = {"web_places", "8", NULL};
	Web						*web = web_start(few);

	for (int i = 0; i < 8; i++)
	{
		clients[i] = client_open(web->port);
		if (i % 2 == 1)
			client_send(&clients[i], "GET /me");
		/* Until the courier has it: the order is that of coming. */
		tap_is_int(ask(web, web->port, i < 7 ? "/livez" : "/readyz"), 200, "a place is taken");
	}
	WEB_UNTIL(web, clients, 8, count_over(8) > 0);
	tap_is_int(count_over(8), 1, "with all of them taken, one gives way to the next");
	tap_ok(clients[0].over, "the oldest");
	for (int i = 1; i < 8; i++)
	{
		tap_is_int(ask(web, web->port, "/metrics"), 200, "a scrape has its answer");
		if (!WEB_UNTIL(web, clients, 8, clients[i].over || count_over(8) == i + 1))
			break;
	}
	close_clients(8);
	web->size = 8 * 1024 * 1024;
	for (int i = 0; i < 8; i++)
	{
		unsigned before = web->fetches;

		clients[i] = client_open(web->port);
		clients[i].lazy = true;
		client_get(&clients[i], i == 0 ? "/v1/health" : "/metrics");
		WEB_UNTIL(web, NULL, 0, web->fetches > before);
	}
	web->size = 0;
	tap_is_int(ask(web, web->port, "/metrics"), 200,
			   "nor do those who take no answer keep one out");
	web->hold = true;
	close_clients(8);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

static long
memory_kb(pid_t pid)
{
	char  path[64];
	char  line[256];
	long  kb = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
	in = fopen(path, "r");
	while (in != NULL && fgets(line, sizeof(line), in) != NULL)
	{
		if (sscanf(line, "VmRSS: %ld", &kb) == 1)
			break;
	}
	if (in != NULL)
		fclose(in);
	return kb;
}

/* Each holds a document of its own that it does not take. */
static void
check_memory(void)
{
	Web *web = web_start(NULL);
	long kb;

	web->size = 16 * 1024 * 1024;
	for (int i = 0; i < 24; i++)
	{
		unsigned before = web->fetches;

		clients[i] = client_open(web->port);
		clients[i].lazy = true;
		client_get(&clients[i], "/metrics");
		WEB_UNTIL(web, NULL, 0, web->fetches > before && smem_buf_len(&web->drive.out) == 0);
	}
	web->size = 0;
	tap_is_int(ask(web, web->port, "/metrics"), 200, "24 clients that take nothing");
	kb = memory_kb(web->drive.pid);
	tap_ok(kb < 300 * 1024, "do not keep 24 documents of 16 MB: %ld kB", kb);
	close_clients(24);
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

static void
check_addresses(void)
{
	Web *web = web_begin();
	int	 metrics = free_port();
	int	 taken;
	char http_text[32];
	char metrics_text[32];

	snprintf(http_text, sizeof(http_text), "127.0.0.1:%d", web->port);
	snprintf(metrics_text, sizeof(metrics_text), "localhost:%d", metrics);
	taken = squat(web->port);
	web_configure(web, http_text, metrics_text, NULL);
	tap_ok(WEB_UNTIL(web, NULL, 0, web->drive.error[0] != '\0'), "an address in use: %s",
		   web->drive.error);
	tap_is_int(web->drive.state.circuit, SMEM_CIRCUIT_OPEN, "is trouble");
	tap_ok(WEB_UNTIL(web, NULL, 0, ask(web, metrics, "/metrics") == 200), "a name is served");
	close(taken);
	tap_ok(WEB_UNTIL(web, NULL, 0, web->drive.state.circuit == SMEM_CIRCUIT_CLOSED),
		   "when it is free, it is served");
	tap_ok(web->drive.error[0] == '\0', "and no trouble any more");
	tap_is_int(ask(web, web->port, "/v1/health"), 200, "health is at the one");
	tap_is_int(ask(web, web->port, "/metrics"), 404, "the metrics are not");
	tap_is_int(ask(web, metrics, "/v1/health"), 200, "at the other is everything");
	web_configure(web, http_text, http_text, NULL);
	tap_ok(WEB_UNTIL(web, NULL, 0, ask(web, web->port, "/metrics") == 200),
		   "both may be the same: everything is there");
	web_configure(web, "nonsense", http_text, NULL);
	tap_ok(WEB_UNTIL(web, NULL, 0, web->drive.state.circuit == SMEM_CIRCUIT_OPEN), "no address: %s",
		   web->drive.error);
	tap_is_int(ask(web, web->port, "/livez"), 200, "the other one is served");
	web_configure(web, "no.such.name.invalid:80", http_text, NULL);
	tap_ok(WEB_UNTIL(web, NULL, 0, strstr(web->drive.error, "no.such.name.invalid") != NULL),
		   "a name that is none: %s", web->drive.error);
	tap_is_int(ask(web, web->port, "/livez"), 200, "the other one is served all the same");
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

static long
cpu_ticks(pid_t pid)
{
	char  path[64];
	char  text[1024] = "";
	long  user = 0;
	long  system = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	in = fopen(path, "r");
	if (fread(text, 1, sizeof(text) - 1, in) == 0 || strrchr(text, ')') == NULL ||
		sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
			   &user, &system) != 2)
		abort();
	fclose(in);
	return user + system;
}

/* No descriptor is left: who wants to connect waits, and the loop does not turn for it. */
static void
check_no_descriptors(void)
{
	struct rlimit limit = {20, 20};
	Web			 *web = web_start(NULL);
	int64_t		  end;
	long		  ticks;

	(void) ask(web, web->port, "/livez");
	if (prlimit(web->drive.pid, RLIMIT_NOFILE, &limit, NULL) != 0)
		abort();
	for (int i = 0; i < 40; i++)
	{
		clients[i] = client_open(web->port);
		client_get(&clients[i], "/livez");
	}
	tap_ok(WEB_UNTIL(web, clients, 40, count_done(40) > 4), "some are served");
	ticks = cpu_ticks(web->drive.pid);
	end = drive_clock_us() + 1000000;
	while (drive_clock_us() < end)
		drive_turn(&web->drive, 20);
	tap_ok(count_done(40) < 40 && cpu_ticks(web->drive.pid) - ticks < sysconf(_SC_CLK_TCK) / 4,
		   "others wait, and the courier does not spin");
	for (int i = 0; i < 40; i++)
	{
		if (client_done(&clients[i]))
			client_close(&clients[i]);
	}
	tap_ok(WEB_UNTIL(web, clients, 40, ({
						 for (int i = 0; i < 40; i++)
							 if (clients[i].fd >= 0 && client_done(&clients[i]))
								 client_close(&clients[i]);
						 int left = 0;
						 for (int i = 0; i < 40; i++)
							 left += clients[i].fd >= 0;
						 left == 0;
					 })),
		   "where one leaves, another is served");
	memset(clients, 0, sizeof(clients));
	tap_is_int(web_stop(web), 0, "the courier ends well");
}

/* Bytes that are no request, and frames that are no document. */
static void
check_nonsense(void)
{
	static const char *const texts[] = {
		"\r\n\r\n\r\n",
		"GET\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"\x16\x03\x01\x02\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /v1/health HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
		"GET /v1/health?database=%00%ff%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /%00/%zz/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
	SmemDocument late = {.number = 1, .status = 200, .body = smem_str("")};
	Web			*web = web_start(NULL);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		clients[i] = client_open(web->port);
		client_send(&clients[i], texts[i]);
		shutdown(clients[i].fd, SHUT_WR);
	}
	tap_is_int(ask(web, web->port, "/metrics"), 200, "nonsense harms nobody");
	close_clients((int) (sizeof(texts) / sizeof(texts[0])));
	smem_frame_document(&web->drive.out, &late);
	WEB_UNTIL(web, NULL, 0, web->drive.over);
	tap_ok(web->drive.over, "a document that nobody asked for ends the courier");
	(void) web_stop(web);
}

int
main(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	check_shared();
	check_kinds();
	check_silence();
	check_slow();
	check_places();
	check_memory();
	check_addresses();
	check_no_descriptors();
	check_nonsense();
	return tap_done();
}
