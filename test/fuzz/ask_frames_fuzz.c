/*
 * Frames of sessions that ask for decisions, and of those who answer; and the
 * answers of OPA itself.
 *
 * Claims: nothing is read past a frame; what was read whole is the same bytes
 * when it is written again; a result of OPA points into its answer, and texts
 * of it are strings.
 */
#include "core/ask.h"
#include "core/json.h"
#include "courier/opa.h"
#include "fuzz.h"

static void
read_ask(const SmemBuf *buf, SmemReader rd)
{
	SmemStr frame = {rd.at, (size_t) (rd.end - rd.at)};
	SmemAsk ask;
	SmemBuf again;

	smem_get_ask(&rd, &ask);
	FUZZ_CLAIM(rd.at <= rd.end && is_within(ask.input, frame));
	if (rd.bad)
		return;
	smem_buf_init(&again, SMEM_FRAME_MAX);
	smem_frame_ask(&again, &ask);
	check_frame(&again, buf);
}

static void
read_answer(const SmemBuf *buf, SmemReader rd)
{
	SmemStr		  frame = {rd.at, (size_t) (rd.end - rd.at)};
	SmemAskAnswer answer;
	SmemBuf		  again;

	smem_get_answer(&rd, &answer);
	FUZZ_CLAIM(rd.at <= rd.end && is_within(answer.rule, frame) && is_within(answer.reason, frame));
	if (rd.bad)
		return;
	smem_buf_init(&again, SMEM_FRAME_MAX);
	smem_frame_answer(&again, &answer);
	check_frame(&again, buf);
}

static void
read_result(SmemStr body)
{
	SmemOpaResult result;

	smem_opa_read(body, &result);
	FUZZ_CLAIM(is_within(result.reason, body) && is_within(result.rule, body));
	FUZZ_CLAIM(!smem_str_present(result.reason) || smem_json_is_string(result.reason));
	FUZZ_CLAIM(!smem_str_present(result.rule) || smem_json_is_string(result.rule));
	/* A decision has its word somewhere. */
	if (result.kind == SMEM_OPA_TRUE)
		FUZZ_CLAIM(memmem(body.data, body.len, "true", 4) != NULL);
	if (result.kind == SMEM_OPA_FALSE)
		FUZZ_CLAIM(memmem(body.data, body.len, "false", 5) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SmemStr	   body = {(const char *) data, size};
	SmemBuf	   buf;
	SmemReader rd;
	uint8_t	   type;

	if (size > 0)
		read_result(body);
	smem_buf_init(&buf, SMEM_FRAME_MAX);
	smem_buf_append(&buf, data, size);
	while (smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY)
	{
		/* Written again it has the type that belongs to it. */
		if (type == SMEM_FRAME_ASK)
			read_ask(&buf, rd);
		else if (type == SMEM_FRAME_DECISION)
			read_answer(&buf, rd);
		smem_buf_consume(&buf, smem_frame_size(&buf));
	}
	smem_buf_free(&buf);
	return 0;
}
