#include "text.h"

#include <string.h>

#include <openssl/evp.h>

#define PRINT_A UINT64_C(0x9E3779B97F4A7C15)
#define PRINT_B UINT64_C(0xC2B2AE3D27D4EB4F)

SmemSlice
smem_slice(const char *text)
{
	SmemSlice slice = {text, text ? strlen(text) : 0};

	return slice;
}

bool
smem_slice_is(SmemSlice slice, const char *text)
{
	return smem_slice_same(slice, smem_slice(text));
}

bool
smem_slice_same(SmemSlice a, SmemSlice b)
{
	return a.len == b.len && a.data && b.data && memcmp(a.data, b.data, a.len) == 0;
}

bool
smem_slice_contains(SmemSlice hay, SmemSlice needle)
{
	return needle.len == 0 ||
		   (hay.data && memmem(hay.data, hay.len, needle.data, needle.len) != NULL);
}

static bool
is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

static void
put_escaped(SmemBuf *buf, unsigned char c)
{
	if (c == '"' || c == '\\')
	{
		smem_buf_putc(buf, '\\');
		smem_buf_putc(buf, (char) c);
	}
	else
		smem_buf_printf(buf, "\\u%04x", c);
}

void
smem_text_json(SmemBuf *buf, SmemSlice text)
{
	size_t at = 0;

	if (text.data == NULL)
	{
		smem_buf_puts(buf, "null");
		return;
	}
	smem_buf_putc(buf, '"');
	while (at < text.len)
	{
		size_t run = at;

		while (run < text.len && is_plain((unsigned char) text.data[run]))
			run++;
		smem_buf_append(buf, text.data + at, run - at);
		if (run < text.len)
			put_escaped(buf, (unsigned char) text.data[run++]);
		at = run;
	}
	smem_buf_putc(buf, '"');
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool
smem_text_percent_decode(SmemSlice text, SmemBuf *out)
{
	size_t i;

	for (i = 0; i < text.len; i++)
	{
		char c = text.data[i];

		if (c <= 0x20 || c >= 0x7F)
			return false;
		if (c == '%')
		{
			int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
			int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char) (high * 16 + low);
			i += 2;
		}
		smem_buf_putc(out, c);
	}
	return true;
}

static uint64_t
fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static uint64_t
mix_in(uint64_t seed, SmemSlice text)
{
	size_t	 at = 0;
	uint64_t word;

	seed = fold(seed ^ (text.len + PRINT_B), PRINT_A);
	for (; at + 8 <= text.len; at += 8)
	{
		memcpy(&word, text.data + at, 8);
		seed = fold(seed ^ word, PRINT_A ^ (seed << 1));
	}
	word = 0;
	if (at < text.len)
		memcpy(&word, text.data + at, text.len - at);
	return fold(seed ^ word ^ PRINT_B, PRINT_A);
}

SmemPrint
smem_text_print(SmemSlice a, SmemSlice b)
{
	SmemPrint print;

	print.high = mix_in(mix_in(PRINT_A, a), b);
	print.low = mix_in(mix_in(PRINT_B, a), b);
	return print;
}

void
smem_text_sha256(const SmemSlice *parts, size_t n, size_t stride, char hex[SMEM_SHA_HEX])
{
	static EVP_MD_CTX *ctx = NULL;
	unsigned char	   digest[EVP_MAX_MD_SIZE];
	unsigned int	   len = 0;
	size_t			   i;

	if (ctx == NULL)
		ctx = EVP_MD_CTX_new();
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	for (i = 0; i < n; i++)
	{
		const SmemSlice *part = (const SmemSlice *) ((const char *) parts + i * stride);

		if (i > 0)
			EVP_DigestUpdate(ctx, "\n", 1);
		EVP_DigestUpdate(ctx, part->data, part->len);
	}
	EVP_DigestFinal_ex(ctx, digest, &len);
	for (i = 0; i < len; i++)
	{
		hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	hex[2 * len] = '\0';
}
