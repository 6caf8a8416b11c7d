/*
 * The input of a decision, as JSON.
 */
#ifndef SMEM_POLICY_INPUT_H
#define SMEM_POLICY_INPUT_H

#include "policy/decide.h"

/* Of a write: action memory.write on somabrain.  palloc'd, in UTF-8. */
extern SmemStr smem_input_of_write(const SmemPolicyCaller *caller, const SmemPolicyWrite *write,
								   uint32_t writes_last_minute);

/* Of a caller, with what this server knows better in its context where it is a write. */
extern SmemStr smem_input_of_caller(Jsonb *input, bool is_write, uint32_t writes_last_minute);

/* The object's member where that is a string, else an absent one. */
extern SmemStr smem_input_text(JsonbContainer *object, const char *name);

/* A text in UTF-8, which PII is looked for in; as it is where the database has no encoding. */
extern SmemStr smem_input_utf8(SmemStr text);

/* The object with this one in its place, member by member. */
extern Jsonb *smem_jsonb_merge(Jsonb *object, Jsonb *other);

/* An object of one string. */
extern Jsonb *smem_jsonb_of_text(const char *name, SmemStr text);

#endif
