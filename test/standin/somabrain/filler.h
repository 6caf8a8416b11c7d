/*
 * Answers that are longer than anybody can want: a beginning, and a filler
 * that is repeated.
 */
#ifndef STANDIN_FILLER_H
#define STANDIN_FILLER_H

#include "service.h"

/* Appends the beginning of such an answer and sets the reply's filler; else does nothing. */
extern void smem_filler_start(const SmemRule *rule, SmemBuf *out, SmemReply *reply);

/* Appends some more of it; false at its end. */
extern bool smem_filler_more(SmemReply *reply, SmemBuf *out);

#endif
