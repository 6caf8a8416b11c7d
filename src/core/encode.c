#include "core/encode.h"

#include <string.h>

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		   c == '.' || c == '_' || c == '~';
}

static void
put_percent(SmemBuf *buf, unsigned char c)
{
	static const char digits[] = "0123456789ABCDEF";
	char			  out[3] = {'%', digits[c >> 4], digits[c & 15]};

	smem_buf_append(buf, out, sizeof(out));
}

void
smem_encode_part(SmemBuf *buf, SmemStr s)
{
	size_t from = 0;

	for (size_t i = 0; i < s.len; i++)
	{
		if (s.data[i] != '%' && s.data[i] != '/')
			continue;
		smem_buf_append(buf, s.data + from, i - from);
		put_percent(buf, (unsigned char) s.data[i]);
		from = i + 1;
	}
	smem_buf_append(buf, s.data + from, s.len - from);
}

void
smem_encode_percent(SmemBuf *buf, SmemStr s)
{
	size_t from = 0;

	for (size_t i = 0; i < s.len; i++)
	{
		if (is_unreserved((unsigned char) s.data[i]))
			continue;
		smem_buf_append(buf, s.data + from, i - from);
		put_percent(buf, (unsigned char) s.data[i]);
		from = i + 1;
	}
	smem_buf_append(buf, s.data + from, s.len - from);
}

static void
put_escape(SmemBuf *buf, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	static const char short_form[] = "btn\0fr"; /* 8 to 13; 11 has none */
	char			  out[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

	if (c == '"' || c == '\\')
		out[1] = (char) c;
	else if (c >= 8 && c <= 13 && c != 11)
		out[1] = short_form[c - 8];
	else
	{
		smem_buf_append(buf, out, 6);
		return;
	}
	smem_buf_append(buf, out, 2);
}

void
smem_encode_json(SmemBuf *buf, SmemStr s)
{
	size_t from = 0;

	smem_buf_putc(buf, '"');
	for (size_t i = 0; i < s.len; i++)
	{
		unsigned char c = (unsigned char) s.data[i];

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		smem_buf_append(buf, s.data + from, i - from);
		put_escape(buf, c);
		from = i + 1;
	}
	smem_buf_append(buf, s.data + from, s.len - from);
	smem_buf_putc(buf, '"');
}

void
smem_encode_hex(SmemBuf *buf, const unsigned char *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char			 *place = smem_buf_reserve(buf, n * 2);

	if (place == NULL)
		return;
	for (size_t i = 0; i < n; i++)
	{
		place[i * 2] = digits[bytes[i] >> 4];
		place[i * 2 + 1] = digits[bytes[i] & 15];
	}
	buf->end += n * 2;
}

SmemStr
smem_cut_text(SmemStr s, size_t max_bytes)
{
	if (s.len <= max_bytes)
		return s;
	while (max_bytes > 0 && ((unsigned char) s.data[max_bytes] & 0xC0) == 0x80)
		max_bytes--;
	s.len = max_bytes;
	return s;
}

void
smem_clean_text(char *text)
{
	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c < 0x20)
			*text = ' ';
		else if (c > 0x7e)
			*text = '?';
	}
}

/* No overlong form, no surrogate, nothing above U+10FFFF. */
size_t
smem_utf8_length(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	size_t				 n;

	if (len == 0)
		return 0;
	n = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
		: p[0] >= 0xE0 && p[0] <= 0xEF ? 3
		: p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
									   : 0;
	if (len < n)
		return 0;
	for (size_t i = 1; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
		(p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
		return 0;
	return n;
}

bool
smem_utf8_valid(SmemStr text)
{
	for (size_t i = 0, n; i < text.len; i += n)
	{
		n = (unsigned char) text.data[i] < 0x80 ? 1 : smem_utf8_length(text.data + i, text.len - i);
		if (n == 0)
			return false;
	}
	return true;
}

void
smem_utf8_clean(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n)
	{
		n = (unsigned char) text[i] < 0x80 ? 1 : smem_utf8_length(text + i, len - i);
		if (n > 0)
			continue;
		text[i] = '?';
		n = 1;
	}
}
