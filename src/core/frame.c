#include "core/frame.h"

#include <string.h>

#define SMEM_FRAME_HEADER 4 /* the length itself */

SmemStr
smem_str(const char *text)
{
	SmemStr s = {text, text ? strlen(text) : 0};

	return s;
}

static void
store_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char) (v >> (8 * i));
}

static uint32_t
load_u32(const unsigned char *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

void
smem_put_u8(SmemBuf *buf, uint8_t v)
{
	smem_buf_append(buf, &v, 1);
}

void
smem_put_u32(SmemBuf *buf, uint32_t v)
{
	unsigned char b[4];

	store_u32(b, v);
	smem_buf_append(buf, b, sizeof(b));
}

void
smem_put_u64(SmemBuf *buf, uint64_t v)
{
	smem_put_u32(buf, (uint32_t) v);
	smem_put_u32(buf, (uint32_t) (v >> 32));
}

void
smem_put_str(SmemBuf *buf, SmemStr s)
{
	if (s.data == NULL)
	{
		smem_put_u32(buf, SMEM_FRAME_NULL);
		return;
	}
	smem_put_u32(buf, (uint32_t) s.len);
	smem_buf_append(buf, s.data, s.len);
}

size_t
smem_frame_begin(SmemBuf *buf, SmemFrameType type)
{
	size_t mark = smem_buf_len(buf);

	smem_put_u32(buf, 0);
	smem_put_u8(buf, (uint8_t) type);
	return mark;
}

void
smem_frame_end(SmemBuf *buf, size_t mark)
{
	if (buf->failed)
		return;
	store_u32((unsigned char *) smem_buf_head(buf) + mark,
			  (uint32_t) (smem_buf_len(buf) - mark - SMEM_FRAME_HEADER));
}

void
smem_frame_row(SmemBuf *buf, const SmemRow *row)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_ROW);

	smem_put_u64(buf, (uint64_t) row->id);
	smem_put_u8(buf, row->flags);
	smem_put_u32(buf, row->attempts);
	smem_put_u64(buf, (uint64_t) row->created_us);
	smem_put_str(buf, row->tenant);
	smem_put_str(buf, row->session);
	smem_put_str(buf, row->namespace);
	smem_put_str(buf, row->persona);
	smem_put_str(buf, row->role);
	smem_put_str(buf, row->key);
	smem_put_str(buf, row->traceparent);
	smem_put_str(buf, row->universe);
	smem_put_str(buf, row->extras);
	smem_put_str(buf, row->payload);
	smem_frame_end(buf, mark);
}

void
smem_put_outcome(SmemBuf *buf, const SmemOutcome *out)
{
	smem_put_u64(buf, (uint64_t) out->id);
	smem_put_u8(buf, out->kind);
	smem_put_u64(buf, (uint64_t) out->at_us);
	smem_put_u32(buf, out->delay_ms);
	smem_put_str(buf, out->receipt);
	smem_put_str(buf, out->class);
	smem_put_str(buf, out->reason);
}

void
smem_frame_state(SmemBuf *buf, const SmemSinkState *state)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_STATE);

	smem_put_u8(buf, state->circuit);
	smem_put_u32(buf, state->failures);
	smem_put_u64(buf, state->retries);
	smem_put_u32(buf, state->in_flight);
	smem_put_u32(buf, state->queued);
	smem_put_u64(buf, (uint64_t) state->next_attempt_us);
	smem_put_str(buf, state->last_error);
	smem_put_u8(buf, state->paused);
	smem_frame_end(buf, mark);
}

void
smem_frame_pause(SmemBuf *buf, bool paused)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_PAUSE);

	smem_put_u8(buf, paused);
	smem_frame_end(buf, mark);
}

void
smem_frame_number(SmemBuf *buf, SmemFrameType type, uint64_t v)
{
	size_t mark = smem_frame_begin(buf, type);

	smem_put_u64(buf, v);
	smem_frame_end(buf, mark);
}

void
smem_frame_committed(SmemBuf *buf, uint64_t page, const int64_t *ids, uint32_t n)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_COMMITTED);

	smem_put_u64(buf, page);
	smem_put_u32(buf, n);
	for (uint32_t i = 0; i < n; i++)
		smem_put_u64(buf, (uint64_t) ids[i]);
	smem_frame_end(buf, mark);
}

SmemFrameStatus
smem_frame_next(const SmemBuf *buf, uint8_t *type, SmemReader *rd)
{
	size_t have = smem_buf_len(buf);
	size_t len;

	if (have < SMEM_FRAME_HEADER)
		return SMEM_FRAME_PARTIAL;
	len = load_u32((const unsigned char *) smem_buf_head(buf));
	if (len == 0 || len > SMEM_FRAME_MAX)
		return SMEM_FRAME_REFUSED;
	if (have - SMEM_FRAME_HEADER < len)
		return SMEM_FRAME_PARTIAL;
	rd->at = smem_buf_head(buf) + SMEM_FRAME_HEADER + 1;
	rd->end = smem_buf_head(buf) + SMEM_FRAME_HEADER + len;
	rd->bad = false;
	*type = (uint8_t) smem_buf_head(buf)[SMEM_FRAME_HEADER];
	return SMEM_FRAME_READY;
}

size_t
smem_frame_size(const SmemBuf *buf)
{
	return SMEM_FRAME_HEADER + load_u32((const unsigned char *) smem_buf_head(buf));
}

static const unsigned char *
take(SmemReader *rd, size_t n)
{
	const char *at = rd->at;

	if (rd->bad || (size_t) (rd->end - at) < n)
	{
		rd->bad = true;
		return NULL;
	}
	rd->at += n;
	return (const unsigned char *) at;
}

uint8_t
smem_get_u8(SmemReader *rd)
{
	const unsigned char *p = take(rd, 1);

	return p ? *p : 0;
}

uint32_t
smem_get_u32(SmemReader *rd)
{
	const unsigned char *p = take(rd, 4);

	return p ? load_u32(p) : 0;
}

uint64_t
smem_get_u64(SmemReader *rd)
{
	const unsigned char *p = take(rd, 8);

	return p ? (uint64_t) load_u32(p) | (uint64_t) load_u32(p + 4) << 32 : 0;
}

SmemStr
smem_get_str(SmemReader *rd)
{
	SmemStr				 s = {NULL, 0};
	uint32_t			 len = smem_get_u32(rd);
	const unsigned char *p;

	if (rd->bad || len == SMEM_FRAME_NULL)
		return s;
	p = take(rd, len);
	if (p != NULL)
	{
		s.data = (const char *) p;
		s.len = len;
	}
	return s;
}

void
smem_get_row(SmemReader *rd, SmemRow *row)
{
	row->id = (int64_t) smem_get_u64(rd);
	row->flags = smem_get_u8(rd);
	row->attempts = smem_get_u32(rd);
	row->created_us = (int64_t) smem_get_u64(rd);
	row->tenant = smem_get_str(rd);
	row->session = smem_get_str(rd);
	row->namespace = smem_get_str(rd);
	row->persona = smem_get_str(rd);
	row->role = smem_get_str(rd);
	row->key = smem_get_str(rd);
	row->traceparent = smem_get_str(rd);
	row->universe = smem_get_str(rd);
	row->extras = smem_get_str(rd);
	row->payload = smem_get_str(rd);
}

void
smem_get_outcome(SmemReader *rd, SmemOutcome *out)
{
	out->id = (int64_t) smem_get_u64(rd);
	out->kind = smem_get_u8(rd);
	out->at_us = (int64_t) smem_get_u64(rd);
	out->delay_ms = smem_get_u32(rd);
	out->receipt = smem_get_str(rd);
	out->class = smem_get_str(rd);
	out->reason = smem_get_str(rd);
}

void
smem_get_state(SmemReader *rd, SmemSinkState *state)
{
	state->circuit = smem_get_u8(rd);
	state->failures = smem_get_u32(rd);
	state->retries = smem_get_u64(rd);
	state->in_flight = smem_get_u32(rd);
	state->queued = smem_get_u32(rd);
	state->next_attempt_us = (int64_t) smem_get_u64(rd);
	state->last_error = smem_get_str(rd);
	state->paused = smem_get_u8(rd) != 0;
}
