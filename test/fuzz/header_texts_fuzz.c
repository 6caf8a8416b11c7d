/*
 * Trace headers and times.
 *
 * Claims: a trace header that is accepted is printable and in its form; a time
 * that is read is written and read as the same, and is the C library's time.
 */
#include "core/iso8601.h"
#include "core/traceparent.h"
#include "fuzz.h"

#include <time.h>

static void
check_trace(SmemStr text)
{
	if (!smem_traceparent_valid(text.data, text.len))
		return;
	FUZZ_CLAIM(text.len >= 55);
	for (size_t i = 0; i < text.len; i++)
		FUZZ_CLAIM(text.data[i] > ' ' && text.data[i] <= '~');
}

static void
check_time(SmemStr text)
{
	int64_t	  seconds;
	int64_t	  again;
	char	  out[SMEM_ISO8601_SIZE];
	struct tm tm = {0};

	if (!smem_iso8601_parse(text.data, text.len, &seconds))
		return;
	FUZZ_CLAIM(seconds >= SMEM_ISO8601_MIN && seconds <= SMEM_ISO8601_MAX);
	smem_iso8601_format(seconds, out);
	FUZZ_CLAIM(strlen(out) == SMEM_ISO8601_SIZE - 1);
	FUZZ_CLAIM(smem_iso8601_parse(out, strlen(out), &again) && again == seconds);
	FUZZ_CLAIM(strptime(out, "%Y-%m-%dT%H:%M:%SZ", &tm) != NULL && timegm(&tm) == seconds);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input	in = {data, size};
	SmemStr text = copy_rest(&in);

	check_trace(text);
	check_time(text);
	free((char *) text.data);
	return 0;
}
