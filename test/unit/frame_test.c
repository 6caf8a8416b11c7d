/* Frames: what goes in comes out, and no length is trusted. */
#include <stdlib.h>

#include "core/frame.h"
#include "tap.h"

static SmemRow
full_row(void)
{
	SmemRow row = {
		.id = INT64_MIN,
		.flags = SMEM_ROW_REOPEN,
		.attempts = 7,
		.created_us = -5,
		.tenant = smem_str("t"),
		.session = smem_str("s"),
		.namespace = smem_str("n"),
		.persona = smem_str(""),
		.role = smem_str("user"),
		.key = smem_str("a/b"),
		.extras = smem_str("\"tags\":[]"),
		.payload = smem_str("{}"),
	};

	return row;
}

static bool
same(SmemStr a, SmemStr b)
{
	return a.len == b.len && (a.data == NULL) == (b.data == NULL) &&
		   (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void
check_row(void)
{
	SmemRow	   row = full_row();
	SmemRow	   got;
	SmemBuf	   buf;
	SmemReader rd;
	uint8_t	   type;

	smem_buf_init(&buf, 65536);
	smem_frame_row(&buf, &row);
	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY && type == SMEM_FRAME_ROW,
		   "a row's frame is whole");
	smem_get_row(&rd, &got);
	tap_ok(!rd.bad && rd.at == rd.end, "it is read to its end");
	tap_ok(got.id == row.id && got.flags == row.flags && got.attempts == 7 && got.created_us == -5,
		   "numbers");
	tap_ok(same(got.tenant, row.tenant) && same(got.persona, row.persona) &&
			   same(got.traceparent, row.traceparent) && same(got.payload, row.payload) &&
			   same(got.extras, row.extras) && same(got.universe, row.universe),
		   "strings, empty and absent ones");
	smem_buf_consume(&buf, smem_frame_size(&buf));
	tap_ok(smem_buf_len(&buf) == 0, "the frame's size is its whole size");
	smem_buf_free(&buf);
}

static void
check_state_and_outcome(void)
{
	SmemSinkState state = {2, 3, UINT64_MAX, 5, 6, 7, smem_str("down"), true};
	SmemOutcome	  out = {
		  .id = 9,
		  .kind = SMEM_OUTCOME_HELD,
		  .at_us = 10,
		  .delay_ms = 11,
		  .class = smem_str("http_429"),
	  };
	SmemSinkState got_state;
	SmemOutcome	  got;
	SmemBuf		  buf;
	SmemReader	  rd;
	uint8_t		  type;
	size_t		  mark;

	smem_buf_init(&buf, 65536);
	smem_frame_state(&buf, &state);
	smem_frame_next(&buf, &type, &rd);
	smem_get_state(&rd, &got_state);
	tap_ok(!rd.bad && got_state.retries == UINT64_MAX && got_state.queued == 6 &&
			   same(got_state.last_error, state.last_error) && got_state.paused,
		   "a state");
	smem_buf_reset(&buf);
	mark = smem_frame_begin(&buf, SMEM_FRAME_OUTCOMES);
	smem_put_u32(&buf, 1);
	smem_put_outcome(&buf, &out);
	smem_frame_end(&buf, mark);
	smem_frame_next(&buf, &type, &rd);
	tap_is_int(smem_get_u32(&rd), 1, "a count of outcomes");
	smem_get_outcome(&rd, &got);
	tap_ok(!rd.bad && got.id == 9 && got.delay_ms == 11 && same(got.class, out.class) &&
			   !smem_str_present(got.receipt),
		   "an outcome");
	smem_buf_free(&buf);
}

static void
check_small_ones(void)
{
	static const int64_t ids[] = {7, -1, INT64_MAX};
	SmemBuf				 buf;
	SmemReader			 rd;
	uint8_t				 type;

	smem_buf_init(&buf, 65536);
	smem_frame_pause(&buf, true);
	smem_frame_next(&buf, &type, &rd);
	tap_ok(type == SMEM_FRAME_PAUSE && smem_get_u8(&rd) == 1 && rd.at == rd.end, "a pause");
	smem_buf_reset(&buf);
	smem_frame_number(&buf, SMEM_FRAME_RECORDED, UINT64_MAX - 1);
	smem_frame_next(&buf, &type, &rd);
	tap_ok(type == SMEM_FRAME_RECORDED && smem_get_u64(&rd) == UINT64_MAX - 1 && rd.at == rd.end,
		   "a number");
	smem_buf_reset(&buf);
	smem_frame_committed(&buf, 5, ids, 3);
	smem_frame_next(&buf, &type, &rd);
	tap_ok(type == SMEM_FRAME_COMMITTED && smem_get_u64(&rd) == 5 && smem_get_u32(&rd) == 3 &&
			   (int64_t) smem_get_u64(&rd) == 7 && (int64_t) smem_get_u64(&rd) == -1 &&
			   (int64_t) smem_get_u64(&rd) == INT64_MAX && !rd.bad && rd.at == rd.end,
		   "a committed page");
	smem_buf_free(&buf);
}

/* Every cut of a frame's body, with its length made to fit, is read without harm. */
static void
check_cuts(void)
{
	SmemRow row = full_row();
	SmemBuf whole;
	bool	all_bad = true;

	smem_buf_init(&whole, 65536);
	smem_frame_row(&whole, &row);
	for (size_t n = 5; n < smem_buf_len(&whole); n++)
	{
		SmemBuf	   cut;
		SmemReader rd;
		SmemRow	   got;
		uint8_t	   type;

		smem_buf_init(&cut, 65536);
		smem_put_u32(&cut, (uint32_t) (n - 4));
		smem_buf_append(&cut, smem_buf_head(&whole) + 4, n - 4);
		if (smem_frame_next(&cut, &type, &rd) == SMEM_FRAME_READY)
		{
			smem_get_row(&rd, &got);
			all_bad = all_bad && rd.bad;
		}
		smem_buf_free(&cut);
	}
	tap_ok(all_bad, "a row that is cut anywhere is bad");
	smem_buf_free(&whole);
}

static void
check_lengths(void)
{
	SmemBuf	   buf;
	SmemReader rd;
	uint8_t	   type;

	smem_buf_init(&buf, 65536);
	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_PARTIAL, "nothing is no frame yet");
	smem_put_u32(&buf, 10);
	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_PARTIAL, "nor is a length alone");
	smem_buf_reset(&buf);
	smem_put_u32(&buf, 0);
	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_REFUSED, "a length of zero is refused");
	smem_buf_reset(&buf);
	smem_put_u32(&buf, (uint32_t) SMEM_FRAME_MAX + 1);
	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_REFUSED, "a length too large too");
	smem_buf_free(&buf);
}

int
main(void)
{
	check_row();
	check_state_and_outcome();
	check_small_ones();
	check_cuts();
	check_lengths();
	return tap_done();
}
