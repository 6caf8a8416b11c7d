/*
 * The metrics of the whole server, for Prometheus: from shared memory alone,
 * so they need no database connection and cost the same at any backlog.
 */
#ifndef SMEM_WORKER_METRICS_H
#define SMEM_WORKER_METRICS_H

#include "core/buf.h"

/* Appends the document, as OpenMetrics or in Prometheus' own text format. */
extern void smem_metrics_write(SmemBuf *out, bool openmetrics);

#endif
