/*
 * Reads an HTTP/1.1 request's head, and writes an answer's.
 *
 * Only what the contract needs: a body has a Content-Length.
 */
#ifndef STANDIN_HTTP_H
#define STANDIN_HTTP_H

#include "text.h"

typedef struct SmemHead
{
	SmemSlice method;
	SmemSlice path;
	SmemSlice authorization;
	SmemSlice tenant;	  /* X-Tenant-ID */
	SmemSlice request_id; /* X-Request-ID */
	SmemSlice idempotency_key;
	SmemSlice traceparent;
	SmemSlice content_type;
	size_t	  head_len;
	size_t	  body_len;
	bool	  expects_continue;
	bool	  closes;
} SmemHead;

typedef enum SmemHeadStatus
{
	SMEM_HEAD_READY,
	SMEM_HEAD_PARTIAL,
	SMEM_HEAD_REFUSED
} SmemHeadStatus;

/* The slices point into bytes. */
extern SmemHeadStatus smem_http_head(SmemSlice bytes, SmemHead *head);

/* Starts an answer; extra is whole header lines or "".  The body follows by the caller. */
extern void smem_http_start(SmemBuf *out, int status, const char *extra, size_t body_len);

/* A complete answer with a JSON body. */
extern void smem_http_answer(SmemBuf *out, int status, const char *extra, SmemSlice body);

#endif
