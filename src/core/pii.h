/*
 * Finds, and masks, e-mail addresses and telephone numbers in text.
 *
 * An address is the pattern (L: letter or digit of a domain, T: letter)
 *
 *     [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]@(L([L-]*L)?\.)+T{2,}
 *
 * A telephone number is + and 8 to 15 digits with up to three separators
 * (space . - parenthesis) before each, or ten digits in groups of 3, 3 and 4
 * with one to three separators between, that are no part of a longer row of
 * digits.  The Rego package finds exactly the same: policy/cases is the proof.
 */
#ifndef SMEM_CORE_PII_H
#define SMEM_CORE_PII_H

#include "core/frame.h"

/* Whether there is an address or a number in the text, which is UTF-8. */
extern bool smem_pii_found(SmemStr text);

/*
 * Appends the text with [e-mail] and [telephone] in place of what is found;
 * then nothing is found in it any more.  False, and nothing is appended,
 * where there is nothing to mask.  The caller looks at out->failed.
 */
extern bool smem_pii_mask(SmemStr text, SmemBuf *out);

#endif
