/* Retry-After: seconds and the three forms of a date. */
#include "core/retry_after.h"
#include "tap.h"

#define NOW INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

static void
check_header(const char *text, long long want)
{
	int64_t delay = -2;
	bool	ok = smem_retry_after(smem_str(text), NOW, &delay);

	tap_ok(ok == (want >= 0) && (!ok || delay == want), "\"%s\" is %lld", text, want);
}

static void
check_date(const char *text, int64_t now_s, long long want)
{
	int64_t at = -1;
	bool	ok = smem_http_date(smem_str(text), now_s, &at);

	tap_ok(ok == (want != -1) && (!ok || at == want), "\"%s\" is %lld", text, want);
}

int
main(void)
{
	check_header("0", 0);
	check_header("120", 120);
	check_header("  7\r\n", 7);
	check_header("86400", 86400);
	check_header("99999999999999999999999999", 86400);
	check_header("", -1);
	check_header("-1", -1);
	check_header("1.5", -1);
	check_header("soon", -1);
	check_header("12 s", -1);
	check_header("Sun, 06 Nov 1994 08:49:47 GMT", 10);
	check_header("Sunday, 06-Nov-94 08:50:37 GMT", 60);
	check_header("Sun Nov  6 09:49:37 1994", 3600);
	check_header("Sun, 06 Nov 1994 08:49:36 GMT", 0);
	check_header("Sun, 06 Nov 2094 08:49:36 GMT", 86400);
	check_header("Sun, 06 Nov 1994 08:49:37 CET", -1);
	check_header("Sun, 06 Nov 1994 08:49:37", -1);
	check_header("Sun, 31 Nov 1994 08:49:37 GMT", -1);
	check_header("Sun, 00 Nov 1994 08:49:37 GMT", -1);
	check_header("Sun, 06 Nov 1994 24:49:37 GMT", -1);
	check_header("Sun, 06 Foo 1994 08:49:37 GMT", -1);
	check_date("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0);
	check_date("Thu, 29 Feb 2024 12:00:00 GMT", 0, 1709208000);
	check_date("Fri, 01 Mar 2024 00:00:00 GMT", 0, 1709251200);
	check_date("Sat Jan 15 23:59:59 2028", 0, 1831593599);
	check_date("Wednesday, 09-Nov-99 23:12:40 GMT", NOW, 942189160);
	check_date("Wednesday, 09-Nov-30 23:12:40 GMT", 1700000000, 1920496360);
	check_date("Wednesday, 09-Nov-94 23:12:40 GMT", 1700000000, 784422760);
	check_date("1994-11-06T08:49:37Z", NOW, -1);
	return tap_done();
}
