/* ISO 8601: what is a time, which one, and back again. */
#include <inttypes.h>
#include <time.h>

#include "core/iso8601.h"
#include "tap.h"

static void
check_time(const char *text, const char *want)
{
	char	out[SMEM_ISO8601_SIZE] = "no time";
	int64_t seconds;

	if (smem_iso8601_parse(text, strlen(text), &seconds))
		smem_iso8601_format(seconds, out);
	tap_is(out, want ? want : "no time", text);
}

/* The C library's calendar, which knows nothing of ours. */
static void
check_against_libc(void)
{
	bool same = true;

	for (int64_t s = SMEM_ISO8601_MIN; s <= SMEM_ISO8601_MAX && same; s += 86400 * 13 + 12345)
	{
		char	  want[64];
		char	  got[SMEM_ISO8601_SIZE];
		time_t	  t = (time_t) s;
		struct tm tm;
		int64_t	  back = 0;

		gmtime_r(&t, &tm);
		snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
				 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		smem_iso8601_format(s, got);
		same = strcmp(want, got) == 0 && smem_iso8601_parse(got, strlen(got), &back) && back == s;
		if (!same)
			printf("# %" PRId64 " is %s, got %s, read as %" PRId64 "\n", s, want, got, back);
	}
	tap_ok(same, "every fortnight of 9999 years, there and back");
}

static void
check_cut_short(void)
{
	const char *text = "2024-05-08T13:56:07.25+02:00";
	int			times = 0;
	int64_t		seconds;

	for (size_t n = 0; n < strlen(text); n++)
		times += smem_iso8601_parse(text, n, &seconds);
	tap_is_int(times, 5, "cut short it is a time where a field ends, and never read past");
}

int
main(void)
{
	check_time("2024-05-08T13:56:07Z", "2024-05-08T13:56:07Z");
	check_time("2024-05-08T13:56:07", "2024-05-08T13:56:07Z");
	check_time("2024-05-08T13:56", "2024-05-08T13:56:00Z");
	check_time("2024-05-08T13:56Z", "2024-05-08T13:56:00Z");
	check_time("2024-05-08T13:56:07.999999Z", "2024-05-08T13:56:07Z");
	check_time("2024-05-08T13:56:07,5", "2024-05-08T13:56:07Z");
	check_time("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59Z");
	check_time("2024-05-08T13:56:07+02:00", "2024-05-08T11:56:07Z");
	check_time("2024-05-08T23:56:07-05", "2024-05-09T04:56:07Z");
	check_time("2024-05-08T13:56:07+23:59", "2024-05-07T13:57:07Z");
	check_time("2024-12-31T23:30:00-00:30", "2025-01-01T00:00:00Z");
	check_time("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z");
	check_time("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
	check_time("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z");
	check_time("0001-01-01T00:00:00+00:01", NULL);
	check_time("9999-12-31T23:59:59-00:01", NULL);
	check_time("0000-12-31T23:59:59-12:00", NULL);
	check_time("2023-02-29T00:00:00Z", NULL);
	check_time("1900-02-29T00:00:00Z", NULL);
	check_time("2024-04-31T00:00:00Z", NULL);
	check_time("2024-05-08T24:00:00Z", NULL);
	check_time("2024-05-08T23:59:60Z", NULL);
	check_time("2024-05-08T23:60:00Z", NULL);
	check_time("2024-05-08 13:56:07Z", NULL);
	check_time("2024-05-08t13:56:07Z", NULL);
	check_time("2024-05-08T13:56:07z", NULL);
	check_time("2024-05-08T13:56:07.Z", NULL);
	check_time("2024-05-08T13:56:07Z ", NULL);
	check_time("2024-05-08T13:56:07+0200", NULL);
	check_time("2024-05-08T13:56:07+02:", NULL);
	check_time("2024-05-08T13:56:07+24:00", NULL);
	check_time("2024-05-08T13:56:07+02:60", NULL);
	check_time("2024-05-08T13:56.5Z", NULL);
	check_time("2024-05-08T13Z", NULL);
	check_time("2024-05-08", NULL);
	check_time("2024-5-8T13:56:07Z", NULL);
	check_time("-2024-05-08T13:56:07Z", NULL);
	check_time("+2024-05-08T13:56:07Z", NULL);
	check_time("20240508T135607Z", NULL);
	check_time("2024-W19-3T13:56:07Z", NULL);
	check_time("2024-129T13:56:07Z", NULL);
	check_time("1715176567", NULL);
	check_time("", NULL);
	check_against_libc();
	check_cut_short();
	return tap_done();
}
