/*
 * What requests and settings say, read from their texts alone.
 */
#ifndef SMEM_COURIER_WEB_TEXT_H
#define SMEM_COURIER_WEB_TEXT_H

#include <stdbool.h>

#define SMEM_WEB_HOST 256
#define SMEM_WEB_PORT 6

/* host:port, also [::1]:port. */
typedef struct SmemWebPlace
{
	char host[SMEM_WEB_HOST];
	char port[SMEM_WEB_PORT];
} SmemWebPlace;

/* False where the text is none: both are named, the port is a number from 1 to 65535. */
extern bool smem_web_place(const char *text, SmemWebPlace *place);

typedef enum SmemWebPath
{
	SMEM_PATH_NONE,
	SMEM_PATH_PAGE, /* the files of webui/ are the first */
	SMEM_PATH_PAGE_SCRIPT,
	SMEM_PATH_BANNER,
	SMEM_PATH_STATE,
	SMEM_PATH_FILES_END,
	SMEM_PATH_HEALTH = SMEM_PATH_FILES_END,
	SMEM_PATH_METRICS,
	SMEM_PATH_LIVE,
	SMEM_PATH_READY
} SmemWebPath;

/* What is there: metrics tells whether this address serves them. */
extern SmemWebPath smem_web_path(const char *path, bool metrics);

/* Whether a header Accept (NULL: none) asks for OpenMetrics 1.0 rather than Prometheus' own format. */
extern bool smem_web_wants_openmetrics(const char *accept);

/* Whether a header Accept-Encoding (NULL: none) asks for gzip. */
extern bool smem_web_wants_gzip(const char *accept_encoding);

#endif
