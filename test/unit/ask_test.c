/* Questions and decisions: what goes in comes out, and what makes no sense is bad. */
#include "core/ask.h"
#include "tap.h"

static SmemBuf buf;

static bool
same(SmemStr a, SmemStr b)
{
	return a.len == b.len && (a.data == NULL) == (b.data == NULL) &&
		   (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The reader of the only frame in the buffer. */
static SmemReader
reader_of(uint8_t want)
{
	SmemReader rd;
	uint8_t	   type;

	tap_ok(smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY && type == want, "a whole frame");
	return rd;
}

static SmemAsk
read_ask(const SmemAsk *ask, bool *bad)
{
	SmemAsk	   got;
	SmemReader rd;

	smem_buf_reset(&buf);
	smem_frame_ask(&buf, ask);
	rd = reader_of(SMEM_FRAME_ASK);
	smem_get_ask(&rd, &got);
	*bad = rd.bad;
	return got;
}

static SmemAskAnswer
read_answer(const SmemAskAnswer *answer, bool *bad)
{
	SmemAskAnswer got;
	SmemReader	  rd;

	smem_buf_reset(&buf);
	smem_frame_answer(&buf, answer);
	rd = reader_of(SMEM_FRAME_DECISION);
	smem_get_answer(&rd, &got);
	*bad = rd.bad;
	return got;
}

static void
check_asks(void)
{
	SmemAsk ask = {
		.number = UINT32_MAX, .timeout_ms = 250, .input = smem_str("{\"action\":\"a\"}")};
	SmemAsk got;
	bool	bad;

	got = read_ask(&ask, &bad);
	tap_ok(!bad && got.number == UINT32_MAX && got.timeout_ms == 250 && same(got.input, ask.input),
		   "a question");
	ask.input = smem_str("");
	got = read_ask(&ask, &bad);
	tap_ok(!bad && smem_str_present(got.input) && got.input.len == 0, "an empty input is there");
	ask.input = smem_str(NULL);
	(void) read_ask(&ask, &bad);
	tap_ok(bad, "a question without input is bad");
}

static void
check_answers(void)
{
	SmemAskAnswer answer = {.number = 7,
							.verdict = SMEM_VERDICT_DENY,
							.rule = smem_str("pii"),
							.reason = smem_str("because")};
	SmemAskAnswer got;
	bool		  bad;
	int			  taken = 0;

	got = read_answer(&answer, &bad);
	tap_ok(!bad && got.number == 7 && got.verdict == SMEM_VERDICT_DENY &&
			   same(got.rule, answer.rule) && same(got.reason, answer.reason),
		   "a denial");
	answer = (SmemAskAnswer){.number = 0, .verdict = SMEM_VERDICT_ALLOW};
	got = read_answer(&answer, &bad);
	tap_ok(!bad && got.verdict == SMEM_VERDICT_ALLOW && !smem_str_present(got.rule) &&
			   !smem_str_present(got.reason),
		   "absent strings stay absent");
	for (int verdict = 0; verdict < 256; verdict++)
	{
		SmemReader rd;
		uint8_t	   type;

		answer.verdict = (uint8_t) verdict;
		smem_buf_reset(&buf);
		smem_frame_answer(&buf, &answer);
		smem_frame_next(&buf, &type, &rd);
		smem_get_answer(&rd, &got);
		taken += !rd.bad;
	}
	tap_is_int(taken, 3, "of 256 verdicts three make sense");
}

/* A frame that is cut anywhere, or has a byte too many, with its length made to fit. */
static void
check_lengths(void)
{
	SmemAsk ask = {.number = 1, .timeout_ms = 2, .input = smem_str("{}")};
	SmemBuf other;
	bool	all_bad = true;
	size_t	whole;

	smem_buf_reset(&buf);
	smem_frame_ask(&buf, &ask);
	whole = smem_buf_len(&buf);
	smem_buf_putc(&buf, 'x');
	for (size_t n = 5; n <= whole + 1; n++)
	{
		SmemAsk	   got;
		SmemReader rd;
		uint8_t	   type;

		if (n == whole)
			continue;
		smem_buf_init(&other, 65536);
		smem_put_u32(&other, (uint32_t) (n - 4));
		smem_buf_append(&other, smem_buf_head(&buf) + 4, n - 4);
		smem_frame_next(&other, &type, &rd);
		smem_get_ask(&rd, &got);
		all_bad = all_bad && rd.bad;
		smem_buf_free(&other);
	}
	tap_ok(all_bad, "a question of any other length is bad");
}

int
main(void)
{
	smem_buf_init(&buf, 65536);
	check_asks();
	check_answers();
	check_lengths();
	smem_buf_free(&buf);
	return tap_done();
}
