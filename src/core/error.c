#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

bool
smem_error_set(SmemError *err, SmemErrorKind kind, bool retriable, const char *fmt, ...)
{
	va_list args;

	if (err == NULL)
		return false;
	err->kind = kind;
	err->retriable = retriable;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return false;
}
