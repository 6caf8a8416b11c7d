/*
 * The Kafka event of a row: key, value and headers, as bytes.
 *
 * Pure.  An event keeps its own copy of everything, in one buffer, so that it
 * can be sent again after the row's frame is gone.  Rows are UTF-8; the
 * payload is a JSON object already and is spliced in as it is.
 *
 * News of a dead letter (SMEM_ROW_DEAD_LETTER) names the event by the row's
 * universe, and the row that is dead by the id in its extras: its own id is
 * between worker and courier.
 */
#ifndef SMEM_COURIER_EVENT_H
#define SMEM_COURIER_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/frame.h"

#define SMEM_EVENT_HEADERS 7

/* A part of an event's text; absent where at is SMEM_EVENT_ABSENT. */
typedef struct SmemSpan
{
	size_t at;
	size_t len;
} SmemSpan;

#define SMEM_EVENT_ABSENT ((size_t) -1)

typedef struct SmemEvent
{
	SmemBuf	 text;
	bool	 dead_letter; /* not a write, but news of one that is dead */
	SmemSpan key;
	SmemSpan value;
	SmemSpan id;
	SmemSpan time;
	SmemSpan traceparent;
} SmemEvent;

typedef struct SmemEventHeader
{
	const char *name;
	SmemStr		value;
} SmemEventHeader;

extern void smem_event_init(SmemEvent *ev);
extern void smem_event_free(SmemEvent *ev);

/* Replaces what the event holds; false when out of memory. */
extern bool smem_event_build(SmemEvent *ev, const SmemRow *row);

/* A part; lasts until the event is built again or freed. */
extern SmemStr smem_event_part(const SmemEvent *ev, SmemSpan span);

/* CloudEvents in binary mode; returns how many.  The source stays the caller's. */
extern int smem_event_headers(const SmemEvent *ev, SmemStr source,
							  SmemEventHeader headers[SMEM_EVENT_HEADERS]);

/* The bytes that the event adds to a request, without the protocol's own. */
extern size_t smem_event_size(const SmemEvent *ev);

#endif
