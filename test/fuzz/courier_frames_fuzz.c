/*
 * Frames of a courier, as a worker reads them.
 *
 * Claims: nothing is read past a frame, a number of outcomes is never
 * believed, and what was read whole is the same bytes when it is written
 * again.
 */
#include "fuzz.h"

static void
check_same(const SmemBuf *again, const char *from, const char *to)
{
	FUZZ_CLAIM(smem_buf_len(again) == (size_t) (to - from));
	FUZZ_CLAIM(memcmp(smem_buf_head(again), from, smem_buf_len(again)) == 0);
}

static void
read_outcomes(SmemReader *rd)
{
	SmemStr	 frame = {rd->at, (size_t) (rd->end - rd->at)};
	uint32_t n = smem_get_u32(rd);
	uint32_t i;

	for (i = 0; i < n && !rd->bad; i++)
	{
		const char *from = rd->at;
		SmemOutcome out;
		SmemBuf		again;

		smem_get_outcome(rd, &out);
		FUZZ_CLAIM(is_within(out.receipt, frame) && is_within(out.class, frame) &&
				   is_within(out.reason, frame));
		if (rd->bad)
			break;
		smem_buf_init(&again, 2 * SMEM_FRAME_MAX);
		smem_put_outcome(&again, &out);
		check_same(&again, from, rd->at);
		smem_buf_free(&again);
	}
	/* An outcome has more than 20 bytes, whatever the number says. */
	FUZZ_CLAIM(i <= frame.len / 20);
}

static void
read_state(SmemReader *rd)
{
	SmemStr		  frame = {rd->at, (size_t) (rd->end - rd->at)};
	SmemSinkState state;
	SmemSinkState meant;
	SmemReader	  second;
	SmemBuf		  again;
	uint8_t		  type;

	smem_get_state(rd, &state);
	FUZZ_CLAIM(is_within(state.last_error, frame));
	if (rd->bad)
		return;
	/* A flag is any byte but 0, so that not all of it need be the same bytes. */
	smem_buf_init(&again, 2 * SMEM_FRAME_MAX);
	smem_frame_state(&again, &state);
	FUZZ_CLAIM(smem_buf_len(&again) == (size_t) (rd->at - frame.data) + 5);
	FUZZ_CLAIM(smem_frame_next(&again, &type, &second) == SMEM_FRAME_READY);
	smem_get_state(&second, &meant);
	FUZZ_CLAIM(!second.bad && second.at == second.end && meant.paused == state.paused &&
			   meant.retries == state.retries && meant.last_error.len == state.last_error.len);
	smem_buf_free(&again);
}

static void
read_committed(SmemReader *rd)
{
	uint32_t n;

	smem_get_u64(rd);
	n = smem_get_u32(rd);
	for (uint32_t i = 0; i < n && !rd->bad; i++)
		smem_get_u64(rd);
}

static void
read_frame(uint8_t type, SmemReader *rd)
{
	switch (type)
	{
		case SMEM_FRAME_OUTCOMES:
			read_outcomes(rd);
			break;
		case SMEM_FRAME_STATE:
			read_state(rd);
			break;
		case SMEM_FRAME_COMMITTED:
			read_committed(rd);
			break;
		case SMEM_FRAME_HELLO:
			smem_get_u32(rd);
			break;
		default:
			smem_get_u64(rd);
	}
	FUZZ_CLAIM(rd->at <= rd->end);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SmemBuf	   buf;
	SmemReader rd;
	uint8_t	   type;

	smem_buf_init(&buf, SMEM_FRAME_MAX);
	smem_buf_append(&buf, data, size);
	while (smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY)
	{
		FUZZ_CLAIM(smem_frame_size(&buf) <= smem_buf_len(&buf));
		read_frame(type, &rd);
		if (rd.bad)
			break;
		smem_buf_consume(&buf, smem_frame_size(&buf));
	}
	smem_buf_free(&buf);
	return 0;
}
