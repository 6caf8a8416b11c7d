/* traceparent: the form of W3C Trace Context, and what later versions may add. */
#include "core/traceparent.h"
#include "tap.h"

#define ID "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void
check(const char *text, bool want)
{
	tap_ok(smem_traceparent_valid(text, strlen(text)) == want, "%s is %s", text,
		   want ? "good" : "bad");
}

int
main(void)
{
	char endless[1024] = "01-" ID "-" PARENT "-01-";

	check("00-" ID "-" PARENT "-01", true);
	check("00-" ID "-" PARENT "-00", true);
	check("00-" ID "-" PARENT "-ff", true);
	check("01-" ID "-" PARENT "-01", true);
	check("fe-" ID "-" PARENT "-01-anything;else", true);
	check("ff-" ID "-" PARENT "-01", false);
	check("00-" ID "-" PARENT "-01-", false);
	check("00-" ID "-" PARENT "-01-more", false);
	check("01-" ID "-" PARENT "-01-", false);
	check("01-" ID "-" PARENT "-01more", false);
	check("01-" ID "-" PARENT "-01-mo re", false);
	check("01-" ID "-" PARENT "-01-mor\xc3\xa9", false);
	check("00-" ID "-" PARENT "-0", false);
	check("00-" ID "-" PARENT, false);
	check("00-" ID "-" PARENT "-0x", false);
	check("00-" ID "-" PARENT "-0A", false);
	check("0-" ID "-" PARENT "-01x", false);
	check("0g-" ID "-" PARENT "-01", false);
	check("00_" ID "-" PARENT "-01", false);
	check("00-" ID "_" PARENT "-01", false);
	check("00-" ID "-" PARENT "_01", false);
	check("00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01", false);
	check("00-00000000000000000000000000000000-" PARENT "-01", false);
	check("00-" ID "-0000000000000000-01", false);
	check("00-00000000000000000000000000000001-0000000000000001-01", true);
	check("", false);

	memset(endless + strlen(endless), 'x', 300);
	check(endless, false);
	return tap_done();
}
