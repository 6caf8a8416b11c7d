/*
 * Metrics as text, for Prometheus: its own format, version 0.0.4, and
 * OpenMetrics 1.0.
 *
 * A family is begun, then its samples follow.  In OpenMetrics a counter's
 * family has no "_total", one that ends with "_seconds" says its unit, and the
 * document ends with "# EOF"; a gauge keeps the name that it was given.  A label's bytes that are no UTF-8 become "?":
 * one of them would make the whole document unreadable.
 */
#ifndef SMEM_CORE_EXPOSITION_H
#define SMEM_CORE_EXPOSITION_H

#include "core/frame.h"
#include "core/histogram.h"

typedef enum SmemMetricType
{
	SMEM_METRIC_GAUGE,
	SMEM_METRIC_COUNTER,
	SMEM_METRIC_HISTOGRAM
} SmemMetricType;

typedef struct SmemLabel
{
	const char *name;
	SmemStr		value;
} SmemLabel;

/* What a histogram shows of its buckets: n bounds of core/histogram.h, given in the unit shown. */
typedef struct SmemBounds
{
	double unit; /* of the counted values, in the unit shown: 1e-6 for microseconds as seconds */
	const double *bound;
	int			  n;
} SmemBounds;

typedef struct SmemExposition
{
	SmemBuf	   *out;
	bool		openmetrics;
	const char *name; /* of the family */
} SmemExposition;

/* name with "_total" where it is a counter's; help ends with a full stop. */
extern void smem_expose_family(SmemExposition *ex, const char *name, SmemMetricType type,
							   const char *help);
extern void smem_expose_uint(SmemExposition *ex, const SmemLabel *labels, int nlabels,
							 uint64_t value);
extern void smem_expose_double(SmemExposition *ex, const SmemLabel *labels, int nlabels,
							   double value);

/* count has SMEM_BUCKETS; sum is in the counted unit. */
extern void smem_expose_histogram(SmemExposition *ex, const SmemLabel *labels, int nlabels,
								  const SmemBounds *bounds, const uint64_t *count, uint64_t sum);
extern void smem_expose_end(SmemExposition *ex);

#endif
