/*
 * Encodings of text: percent, JSON string, hexadecimal.  All append to a buffer.
 */
#ifndef SMEM_CORE_ENCODE_H
#define SMEM_CORE_ENCODE_H

#include "core/frame.h"

/* A part of a key: % and / become %25 and %2F, everything else stays. */
extern void smem_encode_part(SmemBuf *buf, SmemStr s);

/* Everything but RFC 3986's unreserved characters becomes %XX with capital digits. */
extern void smem_encode_percent(SmemBuf *buf, SmemStr s);

/* A JSON string with its quotes.  The text is UTF-8. */
extern void smem_encode_json(SmemBuf *buf, SmemStr s);

/* Bytes as small hexadecimal digits. */
extern void smem_encode_hex(SmemBuf *buf, const unsigned char *bytes, size_t n);

/* Bytes of the UTF-8 character beyond ASCII that the text begins with; 0 where it begins with none. */
extern size_t smem_utf8_length(const char *text, size_t len);
extern bool	  smem_utf8_valid(SmemStr text);

/* Bytes that are no UTF-8 become "?", in place. */
extern void smem_utf8_clean(char *text, size_t len);

/* UTF-8 text cut to at most max bytes, never inside a character. */
extern SmemStr smem_cut_text(SmemStr s, size_t max_bytes);

/*
 * Makes a library's words one line of printable ASCII.  What else stands in
 * them came from the other side, and is text in no encoding that one could
 * rely on.
 */
extern void smem_clean_text(char *text);

#endif
