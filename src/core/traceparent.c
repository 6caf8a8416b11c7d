#include "core/traceparent.h"

#include <string.h>

/* Places of the fields, and the length of version 00. */
enum
{
	TRACE_ID = 3,
	TRACE_ID_DIGITS = 32,
	PARENT_ID = 36,
	PARENT_ID_DIGITS = 16,
	FLAGS = 53,
	LENGTH = 55
};

/* Header lines have an end. */
#define MAX_LENGTH 256

static bool
are_digits(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
			return false;
	}
	return true;
}

static bool
is_id(const char *text, size_t n)
{
	return are_digits(text, n) && strspn(text, "0") < n;
}

/* A later version may append fields of its own. */
static bool
may_follow(const char *text, size_t n)
{
	if (n == 0)
		return true;
	if (n == 1 || text[0] != '-')
		return false;
	for (size_t i = 0; i < n; i++)
	{
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return true;
}

bool
smem_traceparent_valid(const char *text, size_t n)
{
	if (n < LENGTH || n > MAX_LENGTH)
		return false;
	if (!are_digits(text, 2) || memcmp(text, "ff", 2) == 0)
		return false;
	if (text[TRACE_ID - 1] != '-' || text[PARENT_ID - 1] != '-' || text[FLAGS - 1] != '-')
		return false;
	if (!is_id(text + TRACE_ID, TRACE_ID_DIGITS) || !is_id(text + PARENT_ID, PARENT_ID_DIGITS) ||
		!are_digits(text + FLAGS, 2))
		return false;
	if (memcmp(text, "00", 2) == 0)
		return n == LENGTH;
	return may_follow(text + LENGTH, n - LENGTH);
}
