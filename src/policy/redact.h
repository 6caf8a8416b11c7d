/*
 * Masking personal data before it is stored (somamem.pii_filter = redact).
 */
#ifndef SMEM_POLICY_REDACT_H
#define SMEM_POLICY_REDACT_H

#include "utils/jsonb.h"

/*
 * The payload with its content masked; itself, where there is nothing to mask
 * or nothing is to be masked.  *len is its size, before and after.
 */
extern JsonbContainer *smem_policy_redact(JsonbContainer *payload, int *len);

#endif
