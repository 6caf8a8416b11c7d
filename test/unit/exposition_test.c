/* Metrics as text: both formats, letter by letter. */
#include "core/exposition.h"
#include "tap.h"

static SmemBuf out;

static SmemExposition
begin(bool openmetrics)
{
	smem_buf_reset(&out);
	return (SmemExposition){.out = &out, .openmetrics = openmetrics};
}

static void
check_counter(void)
{
	SmemLabel	   label = {"sink", {"kafka", 5}};
	SmemExposition ex = begin(false);

	smem_expose_family(&ex, "deaths_total", SMEM_METRIC_COUNTER, "Rows that died.");
	smem_expose_uint(&ex, &label, 1, UINT64_MAX);
	smem_expose_end(&ex);
	tap_is(smem_buf_text(&out),
		   "# HELP deaths_total Rows that died.\n# TYPE deaths_total counter\n"
		   "deaths_total{sink=\"kafka\"} 18446744073709551615\n",
		   "a counter in Prometheus' own format");
	ex = begin(true);
	smem_expose_family(&ex, "deaths_total", SMEM_METRIC_COUNTER, "Rows that died.");
	smem_expose_uint(&ex, &label, 1, 0);
	smem_expose_end(&ex);
	tap_is(smem_buf_text(&out),
		   "# HELP deaths Rows that died.\n# TYPE deaths counter\n"
		   "deaths_total{sink=\"kafka\"} 0\n# EOF\n",
		   "in OpenMetrics its family has no _total, its sample has, and the end is said");
}

static void
check_gauge(void)
{
	SmemExposition ex = begin(true);

	smem_expose_family(&ex, "pending_total", SMEM_METRIC_GAUGE, "Rows.");
	smem_expose_double(&ex, NULL, 0, 1.5);
	tap_is(smem_buf_text(&out),
		   "# HELP pending_total Rows.\n# TYPE pending_total gauge\npending_total 1.500000\n",
		   "a gauge keeps its name, and needs no label");
}

static void
check_unit(void)
{
	SmemExposition ex = begin(true);

	smem_expose_family(&ex, "lag_seconds", SMEM_METRIC_GAUGE, "Lag.");
	tap_is(smem_buf_text(&out),
		   "# HELP lag_seconds Lag.\n# TYPE lag_seconds gauge\n# UNIT lag_seconds seconds\n",
		   "OpenMetrics wants the unit");
	ex = begin(false);
	smem_expose_family(&ex, "lag_seconds", SMEM_METRIC_GAUGE, "Lag.");
	tap_is(smem_buf_text(&out), "# HELP lag_seconds Lag.\n# TYPE lag_seconds gauge\n",
		   "the other format has none");
}

static void
check_labels(void)
{
	SmemLabel labels[3] = {
		{"a", {"x\"y\\z\nw", 7}}, {"b", {"\xC3\xA9\xFFq\xED\xA0\x80", 7}}, {"c", {"", 0}}};
	SmemExposition ex = begin(false);

	smem_expose_family(&ex, "f", SMEM_METRIC_GAUGE, "F.");
	smem_expose_uint(&ex, labels, 3, 7);
	tap_ok(strstr(smem_buf_text(&out), "f{a=\"x\\\"y\\\\z\\nw\",b=\"\xC3\xA9?q???\",c=\"\"} 7\n") !=
			   NULL,
		   "labels are escaped, and what is no UTF-8 is not passed on");
}

static void
check_histogram(void)
{
	static const double bound[] = {0.001, 0.25, 60};
	SmemBounds			bounds = {1e-5, bound, 3};
	uint64_t			count[SMEM_BUCKETS] = {0};
	SmemLabel			label = {"s", {"k", 1}};
	SmemExposition		ex = begin(false);

	count[smem_bucket_of(100)] = 2;		/* 1 ms, the bound itself */
	count[smem_bucket_of(101)] = 1;		/* above it */
	count[smem_bucket_of(25000)] = 4;	/* 250 ms */
	count[smem_bucket_of(6000001)] = 8; /* above a minute */
	smem_expose_family(&ex, "d", SMEM_METRIC_HISTOGRAM, "D.");
	smem_expose_histogram(&ex, &label, 1, &bounds, count, 200000);
	tap_is(smem_buf_text(&out),
		   "# HELP d D.\n# TYPE d histogram\n"
		   "d_bucket{s=\"k\",le=\"0.001\"} 2\nd_bucket{s=\"k\",le=\"0.25\"} 7\n"
		   "d_bucket{s=\"k\",le=\"60.0\"} 7\nd_bucket{s=\"k\",le=\"+Inf\"} 15\n"
		   "d_sum{s=\"k\"} 2\nd_count{s=\"k\"} 15\n",
		   "a histogram shows what is not above each bound, sum and count");
}

int
main(void)
{
	smem_buf_init(&out, 1024 * 1024);
	check_counter();
	check_gauge();
	check_unit();
	check_labels();
	check_histogram();
	smem_buf_free(&out);
	return tap_done();
}
