/*
 * Retry-After.
 *
 * Claims: a wait is between nothing and a day, and a date that is read is one
 * of HTTP's years.
 */
#include "core/retry_after.h"

#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input	in = {data, size};
	int64_t now_s = (int64_t) next_byte(&in) << 24 | (int64_t) next_byte(&in) << 16;
	SmemStr text = copy_rest(&in);
	int64_t at_s;
	int64_t delay_s = -1;

	if (smem_http_date(text, now_s, &at_s))
		FUZZ_CLAIM(at_s >= INT64_C(-11644473600) && at_s <= INT64_C(253402300800));
	if (smem_retry_after(text, now_s, &delay_s))
		FUZZ_CLAIM(delay_s >= 0 && delay_s <= SMEM_RETRY_AFTER_MAX);
	free((char *) text.data);
	return 0;
}
