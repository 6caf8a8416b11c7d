/*
 * Documents that the web worker's courier serves and the worker renders.
 *
 * The courier sends FETCH frames, as many as it likes before an answer; each
 * gets one DOCUMENT, in any order; the number tells which.
 *
 *   FETCH     u32 number, u8 document, u8 1 for OpenMetrics, str database
 *             (absent: none was named)
 *   DOCUMENT  u32 number, u32 status of HTTP, str body
 */
#ifndef SMEM_CORE_WEB_H
#define SMEM_CORE_WEB_H

#include "core/frame.h"

typedef enum SmemWebDocument
{
	SMEM_WEB_HEALTH = 1,  /* JSON */
	SMEM_WEB_METRICS = 2, /* for Prometheus */
	SMEM_WEB_READY = 3	  /* text */
} SmemWebDocument;

typedef struct SmemFetch
{
	uint32_t number;
	uint8_t	 document; /* SmemWebDocument */
	bool	 openmetrics;
	SmemStr	 database; /* HEALTH: of this one alone; may be absent */
} SmemFetch;

typedef struct SmemDocument
{
	uint32_t number;
	uint32_t status;
	SmemStr	 body;
} SmemDocument;

extern void smem_frame_fetch(SmemBuf *buf, const SmemFetch *fetch);
extern void smem_frame_document(SmemBuf *buf, const SmemDocument *document);

/* Set rd->bad where the frame makes no sense: an unknown document, a status that ends no request. */
extern void smem_get_fetch(SmemReader *rd, SmemFetch *fetch);
extern void smem_get_document(SmemReader *rd, SmemDocument *document);

#endif
