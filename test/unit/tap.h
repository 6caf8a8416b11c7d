/*
 * The Test Anything Protocol, as little of it as unit tests need.
 *
 * Each claim prints one line; tap_done prints the plan and gives main its
 * exit status.
 */
#ifndef SMEM_TEST_TAP_H
#define SMEM_TEST_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_count;
static int tap_failed;

static inline bool __attribute__((format(printf, 2, 3))) tap_ok(bool claim, const char *title, ...)
{
	va_list args;

	tap_count++;
	tap_failed += !claim;
	printf("%sok %d - ", claim ? "" : "not ", tap_count);
	va_start(args, title);
	vprintf(title, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	return claim;
}

static inline bool
tap_is(const char *got, const char *want, const char *title)
{
	bool same = got != NULL && want != NULL ? strcmp(got, want) == 0 : got == want;

	tap_ok(same, "%s", title);
	if (!same)
		printf("#  got: %s\n# want: %s\n", got ? got : "(null)", want ? want : "(null)");
	return same;
}

static inline bool
tap_is_int(long long got, long long want, const char *title)
{
	tap_ok(got == want, "%s", title);
	if (got != want)
		printf("#  got: %lld\n# want: %lld\n", got, want);
	return got == want;
}

static inline void
tap_skip(const char *title, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, title, why);
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed == 0 ? 0 : 1;
}

#endif
