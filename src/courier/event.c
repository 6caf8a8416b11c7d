#include "courier/event.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/encode.h"

/* Above the largest frame's payload plus every name in its escaped form. */
#define EVENT_MAX (2 * SMEM_FRAME_MAX)

#define USEC_PER_SEC 1000000

void
smem_event_init(SmemEvent *ev)
{
	memset(ev, 0, sizeof(*ev));
	smem_buf_init(&ev->text, EVENT_MAX);
}

void
smem_event_free(SmemEvent *ev)
{
	smem_buf_free(&ev->text);
}

static void
put_number(SmemBuf *buf, int64_t v)
{
	char text[24];
	int	 n = snprintf(text, sizeof(text), "%lld", (long long) v);

	smem_buf_append(buf, text, (size_t) n);
}

static void
put_member(SmemBuf *buf, const char *name, SmemStr s)
{
	smem_buf_puts(buf, name);
	if (smem_str_present(s))
		smem_encode_json(buf, s);
	else
		smem_buf_puts(buf, "null");
}

/* Whole seconds and the microseconds above them, also before 1970. */
static int64_t
split_time(int64_t us, int *micros)
{
	int64_t seconds = us / USEC_PER_SEC;
	int		rest = (int) (us % USEC_PER_SEC);

	if (rest < 0)
	{
		rest += USEC_PER_SEC;
		seconds--;
	}
	*micros = rest;
	return seconds;
}

/* Printed from the microseconds themselves: a double would lose the last digits. */
static void
put_epoch(SmemBuf *buf, int64_t us)
{
	uint64_t magnitude = us < 0 ? 0 - (uint64_t) us : (uint64_t) us;
	char	 text[32];
	int		 n = snprintf(text, sizeof(text), "%s%llu.%06u", us < 0 ? "-" : "",
						  (unsigned long long) (magnitude / USEC_PER_SEC),
						  (unsigned) (magnitude % USEC_PER_SEC));

	smem_buf_append(buf, text, (size_t) n);
}

static void
put_rfc3339(SmemBuf *buf, int64_t us)
{
	int		  micros;
	time_t	  seconds = (time_t) split_time(us, &micros);
	struct tm tm;
	char	  text[96];
	int		  n;

	if (gmtime_r(&seconds, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	n = snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
				 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, micros);
	smem_buf_append(buf, text, (size_t) n);
}

static SmemSpan
begin_span(const SmemBuf *buf)
{
	SmemSpan span = {smem_buf_len(buf), 0};

	return span;
}

static void
end_span(const SmemBuf *buf, SmemSpan *span)
{
	span->len = smem_buf_len(buf) - span->at;
}

static const char *
type_of(const SmemEvent *ev)
{
	return ev->dead_letter ? "memory.dead_letter" : "memory.write";
}

static void
put_key(SmemEvent *ev, const SmemRow *row)
{
	ev->key = begin_span(&ev->text);
	smem_encode_part(&ev->text, row->tenant);
	smem_buf_putc(&ev->text, '/');
	smem_encode_part(&ev->text, row->session);
	end_span(&ev->text, &ev->key);
}

static void
put_value(SmemEvent *ev, const SmemRow *row)
{
	SmemBuf *buf = &ev->text;

	ev->value = begin_span(buf);
	smem_buf_puts(buf, "{\"type\":\"");
	smem_buf_puts(buf, type_of(ev));
	smem_buf_putc(buf, '"');
	if (!ev->dead_letter)
	{
		smem_buf_puts(buf, ",\"id\":");
		put_number(buf, row->id);
	}
	put_member(buf, ",\"idempotency_key\":", row->key);
	put_member(buf, ",\"role\":", row->role);
	put_member(buf, ",\"session_id\":", row->session);
	put_member(buf, ",\"persona_id\":", row->persona);
	put_member(buf, ",\"tenant\":", row->tenant);
	put_member(buf, ",\"namespace\":", row->namespace);
	smem_buf_puts(buf, ",\"payload\":");
	smem_buf_append(buf, row->payload.data, row->payload.len);
	smem_buf_puts(buf, ev->dead_letter ? ",\"timestamp\":" : ",\"result\":null,\"timestamp\":");
	put_epoch(buf, row->created_us);
	if (ev->dead_letter && row->extras.len > 0)
	{
		smem_buf_putc(buf, ',');
		smem_buf_append(buf, row->extras.data, row->extras.len);
	}
	smem_buf_putc(buf, '}');
	end_span(buf, &ev->value);
}

static void
put_header_values(SmemEvent *ev, const SmemRow *row)
{
	ev->id = begin_span(&ev->text);
	if (ev->dead_letter)
		smem_buf_append(&ev->text, row->universe.data, row->universe.len);
	else
		put_number(&ev->text, row->id);
	end_span(&ev->text, &ev->id);

	ev->time = begin_span(&ev->text);
	put_rfc3339(&ev->text, row->created_us);
	end_span(&ev->text, &ev->time);

	ev->traceparent.at = SMEM_EVENT_ABSENT;
	if (!smem_str_present(row->traceparent))
		return;
	ev->traceparent = begin_span(&ev->text);
	smem_buf_append(&ev->text, row->traceparent.data, row->traceparent.len);
	end_span(&ev->text, &ev->traceparent);
}

bool
smem_event_build(SmemEvent *ev, const SmemRow *row)
{
	/* Asked for at once: growing by doubling would copy a large payload many times. */
	size_t guess = row->payload.len + 2 * (row->tenant.len + row->session.len) + row->key.len +
				   row->role.len + row->persona.len + row->namespace.len + row->traceparent.len +
				   row->extras.len + 320;

	ev->dead_letter = (row->flags & SMEM_ROW_DEAD_LETTER) != 0;
	smem_buf_reset(&ev->text);
	(void) smem_buf_reserve(&ev->text, guess);
	put_key(ev, row);
	put_value(ev, row);
	put_header_values(ev, row);
	return !ev->text.failed;
}

SmemStr
smem_event_part(const SmemEvent *ev, SmemSpan span)
{
	SmemStr s = {NULL, 0};

	if (span.at == SMEM_EVENT_ABSENT)
		return s;
	s.data = smem_buf_head(&ev->text) + span.at;
	s.len = span.len;
	return s;
}

int
smem_event_headers(const SmemEvent *ev, SmemStr source, SmemEventHeader headers[SMEM_EVENT_HEADERS])
{
	int n = 0;

	headers[n++] = (SmemEventHeader){"ce_specversion", {"1.0", 3}};
	headers[n++] = (SmemEventHeader){"ce_id", smem_event_part(ev, ev->id)};
	headers[n++] = (SmemEventHeader){"ce_source", source};
	headers[n++] = (SmemEventHeader){"ce_type", smem_str(type_of(ev))};
	headers[n++] = (SmemEventHeader){"ce_time", smem_event_part(ev, ev->time)};
	headers[n++] = (SmemEventHeader){"content-type", {"application/json", 16}};
	if (ev->traceparent.at != SMEM_EVENT_ABSENT)
		headers[n++] = (SmemEventHeader){"traceparent", smem_event_part(ev, ev->traceparent)};
	return n;
}

size_t
smem_event_size(const SmemEvent *ev)
{
	return smem_buf_len(&ev->text);
}
