/*
 * Reading jsonb in place, without copies.
 */
#ifndef SMEM_PG_JSONB_H
#define SMEM_PG_JSONB_H

#include "core/frame.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* What an object's member holds; its value is NULL where the member is missing or null. */
extern JsonbValue *smem_jsonb_member(JsonbContainer *object, const char *name, JsonbValue *value);

/* The object that the value holds, or NULL. */
extern JsonbContainer *smem_jsonb_object(const JsonbValue *value);

/* A string value's text, which lives in the container. */
extern SmemStr smem_jsonb_string(const JsonbValue *value);

/*
 * Returns a text that is the same for all containers that are equal as jsonb.
 *
 * The usual text, but for numbers, which keep their trailing zeros there: 1.0
 * and 1 are equal and print differently.  text is the usual one.
 */
extern SmemStr smem_jsonb_equal_text(JsonbContainer *container, SmemStr text);

#endif
