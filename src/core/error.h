/*
 * An error as a value: what core and courier return instead of logging or leaving.
 *
 * The text is for people: no payload, no token, no full stop, in the style of
 * PostgreSQL's primary messages.
 */
#ifndef SMEM_CORE_ERROR_H
#define SMEM_CORE_ERROR_H

#include <stdbool.h>

#define SMEM_ERROR_TEXT 256

typedef enum SmemErrorKind
{
	SMEM_ERROR_NONE = 0,
	SMEM_ERROR_MEMORY,	 /* no memory, or a ceiling was met */
	SMEM_ERROR_CONFIG,	 /* a setting, or a file that it names, cannot be used */
	SMEM_ERROR_PROTOCOL, /* the other side does not keep to the contract */
	SMEM_ERROR_SINK,	 /* the sink is away, slow, or answers with a failure */
	SMEM_ERROR_SYSTEM	 /* a system call failed */
} SmemErrorKind;

typedef struct SmemError
{
	SmemErrorKind kind;
	bool		  retriable; /* the same call may work later */
	char		  text[SMEM_ERROR_TEXT];
} SmemError;

/* Fills in err, which may be NULL, and returns false, so that a caller can return it at once. */
extern bool smem_error_set(SmemError *err, SmemErrorKind kind, bool retriable, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
