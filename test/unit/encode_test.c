/* Encodings. */
#include "core/encode.h"
#include "tap.h"

typedef void (*Encoder)(SmemBuf *buf, SmemStr s);

static void
check(Encoder encode, const char *text, size_t len, const char *want, const char *title)
{
	SmemBuf buf;
	SmemStr s = {text, len};

	smem_buf_init(&buf, 4096);
	encode(&buf, s);
	tap_is(smem_buf_text(&buf), want, title);
	smem_buf_free(&buf);
}

#define CHECK(encode, text, want, title) check(encode, text, sizeof(text) - 1, want, title)

int
main(void)
{
	SmemBuf buf;
	char	foreign[] = "CN=a\nb\xC3\xA9\t\xFF";

	CHECK(smem_encode_part, "", "", "a part may be empty");
	CHECK(smem_encode_part, "a/b%c", "a%2Fb%25c", "slash and percent are encoded in a part");
	CHECK(smem_encode_part, "a b\xC3\xA9~", "a b\xC3\xA9~", "nothing else is");
	CHECK(smem_encode_percent, "AZaz09-._~", "AZaz09-._~", "unreserved characters stay");
	CHECK(smem_encode_percent, "a b/\xC3\xA9%", "a%20b%2F%C3%A9%25", "all others do not");
	CHECK(smem_encode_json, "plain \xC3\xA9", "\"plain \xC3\xA9\"", "plain text in JSON");
	CHECK(smem_encode_json, "q\" b\\ n\n t\t r\r f\f b\b",
		  "\"q\\\" b\\\\ n\\n t\\t r\\r f\\f b\\b\"", "what JSON must escape");
	CHECK(smem_encode_json, "\x01\x0B\x1F\x7F", "\"\\u0001\\u000b\\u001f\\u007f\"",
		  "control characters");
	check(smem_encode_json, "a\0b", 3, "\"a\\u0000b\"", "a NUL inside");
	smem_buf_init(&buf, 4096);
	smem_encode_hex(&buf, (const unsigned char *) "\x00\xAF\x10", 3);
	tap_is(smem_buf_text(&buf), "00af10", "hexadecimal digits");
	smem_buf_free(&buf);
	tap_is_int((long long) smem_cut_text(smem_str("abc"), 5).len, 3, "a short text is not cut");
	tap_is_int((long long) smem_cut_text(smem_str("abc"), 2).len, 2, "a long one is");
	tap_is_int((long long) smem_cut_text(smem_str("a\xE2\x82\xAC"), 3).len, 1,
			   "never inside a character");
	smem_clean_text(foreign);
	tap_is(foreign, "CN=a b?? ?", "foreign words become a line of ASCII");
	return tap_done();
}
