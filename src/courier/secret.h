/*
 * A secret in a file, read again when the file changes.
 *
 * The text is never part of an error.
 */
#ifndef SMEM_COURIER_SECRET_H
#define SMEM_COURIER_SECRET_H

#include <sys/stat.h>

#include "core/buf.h"
#include "core/error.h"

typedef struct SmemSecret
{
	SmemBuf		path;
	SmemBuf		text; /* without the white space around it */
	struct stat seen;
	bool		read; /* text is what the file held when it was seen */
} SmemSecret;

extern void smem_secret_init(SmemSecret *secret);
extern void smem_secret_free(SmemSecret *secret);

/* Which file; NULL or empty for none.  The next check reads it. */
extern void smem_secret_set(SmemSecret *secret, const char *path);

/*
 * Reads the file where it is new or has changed; *changed says so.  False when
 * there is a path, and no usable secret behind it.
 */
extern bool smem_secret_check(SmemSecret *secret, bool *changed, SmemError *err);

/* NULL where there is no secret. */
extern const char *smem_secret_text(SmemSecret *secret);

#endif
