/* What headers, paths and addresses say to the web sink. */
#include "courier/web_text.h"
#include "tap.h"

static void
check_openmetrics(void)
{
	static const struct
	{
		const char *accept;
		bool		wants;
	} cases[] = {
		{NULL, false},
		{"", false},
		{"*/*", false},
		{"text/plain", false},
		{"application/openmetrics-text", true},
		{"Application/OpenMetrics-Text ; Version=1.0.0", true},
		{"application/openmetrics-text; version=\"1.0.0\"", true},
		{"application/openmetrics-text; version=0.0.1", false},
		{"application/openmetrics-text; q=0", false},
		{"application/openmetrics-text; q=0.000", false},
		{"application/openmetrics-text; q=0.001", true},
		{"application/openmetrics-text; q=1.001", false},
		{"application/openmetrics-text; q=nonsense", false},
		{"application/openmetrics-text; q=.5", false},
		{"application/openmetrics-text; q=0.5, text/plain; q=0.4", true},
		{"application/openmetrics-text; q=0.4, text/plain; q=0.5", false},
		{"text/plain; q=0.5, application/openmetrics-text; q=0.5", true},
		/* The closest pattern weighs: text is wanted less than everything else. */
		{"application/openmetrics-text; q=0.5, text/plain; q=0.1, */*; q=0.9", true},
		{"application/openmetrics-text; q=0.5, text/*; q=0.9, */*; q=0.1", false},
		{"application/openmetrics-text; q=0.5, */*; q=0.9", false},
		{"application/openmetrics-text-not", false},
		{"text/html, text/plain; version=0.0.4; q=0.1, application/openmetrics-text; q=0.2", true},
		{",,, ;q=1, application/openmetrics-text,", true},
		{"text/plain; note=\"a, application/openmetrics-text, b\"", false},
		/* Prometheus 2 and 3. */
		{"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
		 "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		 true},
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
		 "application/openmetrics-text;version=0.0.1;q=0.5,"
		 "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
		 "*/*;q=0.2",
		 true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(smem_web_wants_openmetrics(cases[i].accept) == cases[i].wants, "Accept: %s is %s",
			   cases[i].accept ? cases[i].accept : "(none)",
			   cases[i].wants ? "OpenMetrics" : "Prometheus' own");
}

static void
check_gzip(void)
{
	static const struct
	{
		const char *accept;
		bool		wants;
	} cases[] = {
		{NULL, false},
		{"", false},
		{"gzip", true},
		{"GZIP;Q=0.1", true},
		{"x-gzip", true},
		{"deflate, gzip;q=1.0, *;q=0.5", true},
		{"gzip;q=0", false},
		{"*", true},
		{"*;q=0", false},
		{"gzip;q=0, *", false},
		{"*;q=0, gzip", true},
		{"identity", false},
		{"identity, gzip", true},
		{"identity;q=1, gzip;q=0.5", false},
		{"identity;q=0.5, gzip;q=1", true},
		{"identity;q=0", false},
		{"br, zstd", false},
		{"gzipped", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(smem_web_wants_gzip(cases[i].accept) == cases[i].wants, "Accept-Encoding: %s is %s",
			   cases[i].accept ? cases[i].accept : "(none)", cases[i].wants ? "gzip" : "plain");
}

static void
check_paths(void)
{
	static const struct
	{
		const char *path;
		SmemWebPath is;
	} cases[] = {
		{"/", SMEM_PATH_PAGE},
		{"/health-page.js", SMEM_PATH_PAGE_SCRIPT},
		{"/health-banner.js", SMEM_PATH_BANNER},
		{"/health-state.js", SMEM_PATH_STATE},
		{"/v1/health", SMEM_PATH_HEALTH},
		{"/metrics", SMEM_PATH_METRICS},
		{"/livez", SMEM_PATH_LIVE},
		{"/readyz", SMEM_PATH_READY},
		{"", SMEM_PATH_NONE},
		{"/metrics/", SMEM_PATH_NONE},
		{"//metrics", SMEM_PATH_NONE},
		{"/Metrics", SMEM_PATH_NONE},
		{"/v1/healthz", SMEM_PATH_NONE},
		{"/../metrics", SMEM_PATH_NONE},
		{"metrics", SMEM_PATH_NONE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(smem_web_path(cases[i].path, true) == cases[i].is, "path %s", cases[i].path);
	tap_is_int(smem_web_path("/metrics", false), SMEM_PATH_NONE,
			   "the metrics are not where another address has them");
	tap_is_int(smem_web_path("/v1/health", false), SMEM_PATH_HEALTH, "health is");
}

static void
check_places(void)
{
	static const struct
	{
		const char *text;
		const char *host;
		const char *port;
	} good[] = {
		{"127.0.0.1:8000", "127.0.0.1", "8000"},
		{"[::1]:1", "::1", "1"},
		{"localhost:65535", "localhost", "65535"},
		{"[fe80::1%eth0]:80", "fe80::1%eth0", "80"},
	};
	static const char *const bad[] = {
		"",			  "8000",		 ":8000",	   "host",			 "host:",	 "host:0",
		"host:65536", "host:000001", "host:8000 ", "host:80a",		 " host:80", "ho st:80",
		"::1:80",	  "[::1]",		 "[::1]80",	   "[]:80",			 "[::1:80",	 "http://host:80",
		"host:80/",	  "host:-1",	 "[::1]x:80",  "h\303\266st:80",
	};
	SmemWebPlace place;
	char		 text[SMEM_WEB_HOST + 16];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		tap_ok(smem_web_place(good[i].text, &place) && strcmp(place.host, good[i].host) == 0 &&
				   strcmp(place.port, good[i].port) == 0,
			   "address %s", good[i].text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		tap_ok(!smem_web_place(bad[i], &place), "\"%s\" is none", bad[i]);
	memset(text, 'a', sizeof(text));
	strcpy(text + SMEM_WEB_HOST, ":80");
	tap_ok(!smem_web_place(text, &place), "nor is a name that is too long");
	strcpy(text + SMEM_WEB_HOST - 1, ":80");
	tap_ok(smem_web_place(text, &place), "one as long as it may be is");
}

int
main(void)
{
	check_openmetrics();
	check_gzip();
	check_paths();
	check_places();
	return tap_done();
}
