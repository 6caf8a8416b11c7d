/*
 * Reading jsonb in place, without copies.
 */
#ifndef SMEM_PG_JSONB_H
#define SMEM_PG_JSONB_H

#include "core/frame.h"

#include "utils/jsonb.h"

/* What an object's member holds; its value is NULL where the member is missing or null. */
extern JsonbValue *smem_jsonb_member(JsonbContainer *object, const char *name, JsonbValue *value);

/* The object that the value holds, or NULL. */
extern JsonbContainer *smem_jsonb_object(const JsonbValue *value);

/* A string value's text, which lives in the container. */
extern SmemStr smem_jsonb_string(const JsonbValue *value);

typedef struct SmemJsonbSurvey
{
	Size max_text;		 /* the text has at most so many bytes */
	bool padded_numbers; /* some number ends in zeros behind its point, as 1.50 does */
} SmemJsonbSurvey;

/* What can be said of a container's text without writing it. */
extern void smem_jsonb_survey(JsonbContainer *container, SmemJsonbSurvey *survey);

/*
 * A copy whose numbers have no trailing zeros.
 *
 * Containers are equal as jsonb exactly where such copies have the same
 * bytes: 1.50 and 1.5 are equal numbers, and nothing else has two forms.
 */
extern Jsonb *smem_jsonb_trim_numbers(JsonbContainer *container);

#endif
