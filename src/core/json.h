/*
 * Reads JSON text where it lies: nothing is built, nothing is copied.
 *
 * smem_json_check goes over the text once; what it accepted can then be
 * walked without further checks.  A value is the span of its text, so that it
 * can be handed on exactly as it was given.
 */
#ifndef SMEM_CORE_JSON_H
#define SMEM_CORE_JSON_H

#include "core/frame.h"

/* Deeper nesting is refused. */
#define SMEM_JSON_DEPTH 64

typedef struct SmemJsonWalk
{
	const char *at;
	const char *end;
} SmemJsonWalk;

/* Whether the text is one JSON value in valid UTF-8; *value is it without the space around. */
extern bool smem_json_check(SmemStr text, SmemStr *value);

/*
 * Whether PostgreSQL's jsonb takes the value (of checked text): no \u0000, no
 * half of a surrogate pair, no number beyond numeric.
 */
extern bool smem_json_storable(SmemStr value);

/* Begin a walk; false when the value is no object, or no array. */
extern bool smem_json_object(SmemStr value, SmemJsonWalk *walk);
extern bool smem_json_array(SmemStr value, SmemJsonWalk *walk);

/* The next member or element; false at the end.  A name is a string value with its quotes. */
extern bool smem_json_member(SmemJsonWalk *walk, SmemStr *name, SmemStr *value);
extern bool smem_json_element(SmemJsonWalk *walk, SmemStr *value);

extern bool smem_json_is_string(SmemStr value);
extern bool smem_json_is(SmemStr value, const char *literal);

/* Whether a string value stands for the text. */
extern bool smem_json_equals(SmemStr value, SmemStr text);

/* Appends what a string value stands for; half surrogates become U+FFFD. */
extern void smem_json_unescape(SmemBuf *buf, SmemStr value);

#endif
