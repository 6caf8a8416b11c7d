#include "courier/random.h"

#include <string.h>
#include <sys/random.h>

static unsigned char pool[4096];
static size_t		 left;

static void
take(void *out, size_t n)
{
	if (left < n)
	{
		/* The kernel gives up to 256 bytes at once without fail; more is asked for in steps. */
		for (size_t at = 0; at < sizeof(pool); at += 256)
		{
			while (getrandom(pool + at, 256, 0) != 256)
				;
		}
		left = sizeof(pool);
	}
	left -= n;
	memcpy(out, pool + left, n);
}

uint64_t
smem_random(void)
{
	uint64_t v;

	take(&v, sizeof(v));
	return v;
}

void
smem_random_uuid(char text[SMEM_UUID_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char	  b[16];
	char			 *out = text;

	take(b, sizeof(b));
	b[6] = (unsigned char) (0x40 | (b[6] & 0x0F));
	b[8] = (unsigned char) (0x80 | (b[8] & 0x3F));
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 15];
	}
	*out = '\0';
}
