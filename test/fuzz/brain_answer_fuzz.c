/*
 * Answers of SomaBrain: any status with any body, to a batch of three rows.
 *
 * Claims: results point into the body; no row is found without an answer that
 * passed; a receipt is a JSON object that PostgreSQL stores; a reason is valid
 * text of one line that repeats nothing of the row.
 */
#include "courier/brain.h"

#include "core/json.h"
#include "fuzz.h"

#define ROWS 3
#define SECRET "what was said in confidence"

static const char *const keys[ROWS] = {"k/0", "k/1", "caf\xC3\xA9 \"2\""};

static void
check_reason(const SmemJudgement *judgement)
{
	SmemStr reason = smem_str(judgement->reason);

	FUZZ_CLAIM(memchr(judgement->reason, '\0', sizeof(judgement->reason)) != NULL);
	FUZZ_CLAIM(memchr(judgement->class, '\0', sizeof(judgement->class)) != NULL);
	FUZZ_CLAIM(judgement->verdict == SMEM_VERDICT_SINK ||
			   strstr(judgement->reason, SECRET) == NULL);
	for (size_t i = 0; i < reason.len; i++)
		FUZZ_CLAIM((unsigned char) reason.data[i] >= 0x20 && reason.data[i] != 0x7f);
	FUZZ_CLAIM(is_utf8(reason));
}

static void
check_receipt(const SmemBrainResult *result)
{
	SmemBuf		 buf;
	SmemStr		 receipt;
	SmemStr		 value;
	SmemJsonWalk walk;

	smem_buf_init(&buf, 1024 * 1024);
	receipt = smem_brain_receipt(&buf, result);
	FUZZ_CLAIM(smem_json_check(receipt, &value) && value.len == receipt.len);
	FUZZ_CLAIM(smem_json_object(value, &walk) && smem_json_storable(value));
	smem_buf_free(&buf);
}

static void
read_results(const SmemHttpAnswer *answer, SmemBrainForm form, SmemItem **items,
			 SmemJudgement *judgement)
{
	uint32_t		n = form == SMEM_BRAIN_BATCH ? ROWS : 1;
	SmemBrainResult results[ROWS];
	int				found = smem_brain_results(answer->body, form, items, n, results, judgement);
	int				counted = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		if (!results[i].found)
			continue;
		counted++;
		FUZZ_CLAIM(is_within(results[i].coordinate, answer->body));
		FUZZ_CLAIM(is_within(results[i].request_id, answer->body));
		check_receipt(&results[i]);
	}
	FUZZ_CLAIM(found == -1 || (found > 0 && found == counted));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		   in = {data, size};
	SmemBrainForm  form = (SmemBrainForm) (next_byte(&in) % SMEM_BRAIN_FORMS);
	SmemHttpAnswer answer = {.error = ""};
	char		   error[256] = "";
	SmemJudgement  judgement;
	SmemItem	   rows[ROWS];
	SmemItem	  *items[ROWS];

	answer.fault = (SmemHttpFault) (next_byte(&in) % (SMEM_HTTP_LOCAL + 1));
	answer.status = 100 + 2 * next_byte(&in) + (answer.fault >> 1);
	answer.retry_after_s = (int8_t) next_byte(&in);
	answer.body = copy_rest(&in);
	/* A library's words may repeat any of it. */
	memcpy(error, answer.body.data,
		   answer.body.len < sizeof(error) ? answer.body.len : sizeof(error) - 1);
	answer.error = error;
	memset(rows, 0, sizeof(rows));
	for (int i = 0; i < ROWS; i++)
	{
		rows[i].row.key = smem_str(keys[i]);
		rows[i].row.payload = smem_str("{\"content\": \"" SECRET "\"}");
		items[i] = &rows[i];
	}
	smem_brain_judge(&answer, &judgement);
	FUZZ_CLAIM(judgement.verdict != SMEM_VERDICT_PASSED ||
			   (answer.fault == SMEM_HTTP_ANSWERED && answer.status / 100 == 2));
	FUZZ_CLAIM(is_within(judgement.detail, answer.body));
	smem_brain_explain(&judgement, items[0]);
	check_reason(&judgement);
	if (judgement.verdict == SMEM_VERDICT_PASSED)
	{
		read_results(&answer, form, items, &judgement);
		check_reason(&judgement);
	}
	free((char *) answer.body.data);
	return 0;
}
