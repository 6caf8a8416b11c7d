#include "core/ask.h"

void
smem_frame_ask(SmemBuf *buf, const SmemAsk *ask)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_ASK);

	smem_put_u32(buf, ask->number);
	smem_put_u32(buf, ask->timeout_ms);
	smem_put_str(buf, ask->input);
	smem_frame_end(buf, mark);
}

void
smem_frame_answer(SmemBuf *buf, const SmemAskAnswer *answer)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_DECISION);

	smem_put_u32(buf, answer->number);
	smem_put_u8(buf, answer->verdict);
	smem_put_str(buf, answer->rule);
	smem_put_str(buf, answer->reason);
	smem_frame_end(buf, mark);
}

void
smem_get_ask(SmemReader *rd, SmemAsk *ask)
{
	ask->number = smem_get_u32(rd);
	ask->timeout_ms = smem_get_u32(rd);
	ask->input = smem_get_str(rd);
	if (!smem_str_present(ask->input) || rd->at != rd->end)
		rd->bad = true;
}

void
smem_get_answer(SmemReader *rd, SmemAskAnswer *answer)
{
	answer->number = smem_get_u32(rd);
	answer->verdict = smem_get_u8(rd);
	answer->rule = smem_get_str(rd);
	answer->reason = smem_get_str(rd);
	if (answer->verdict < SMEM_VERDICT_ALLOW || answer->verdict > SMEM_VERDICT_FAILED ||
		rd->at != rd->end)
		rd->bad = true;
}
