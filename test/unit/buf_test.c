/* Buffers: growth, ceiling, consuming. */
#include "core/buf.h"
#include "tap.h"

static void
check_growth(void)
{
	SmemBuf buf;

	smem_buf_init(&buf, 1000);
	tap_is(smem_buf_text(&buf), "", "an empty buffer is an empty text");
	smem_buf_puts(&buf, "abc");
	smem_buf_putc(&buf, 'd');
	smem_buf_printf(&buf, "%d-%s", 7, "x");
	tap_is(smem_buf_text(&buf), "abcd7-x", "appends follow each other");
	smem_buf_consume(&buf, 4);
	tap_is(smem_buf_text(&buf), "7-x", "what is consumed is gone");
	smem_buf_consume(&buf, 3);
	tap_ok(buf.start == 0 && buf.end == 0, "an empty buffer begins at its front again");
	smem_buf_free(&buf);
	smem_buf_free(&buf);
	tap_ok(buf.data == NULL, "it may be freed twice");
}

static void
check_ceiling(void)
{
	SmemBuf buf;
	char	bytes[600];

	memset(bytes, 'x', sizeof(bytes));
	smem_buf_init(&buf, 1000);
	smem_buf_append(&buf, bytes, sizeof(bytes));
	tap_ok(!buf.failed, "below the ceiling");
	smem_buf_append(&buf, bytes, sizeof(bytes));
	tap_ok(buf.failed && smem_buf_len(&buf) == 600, "beyond it nothing is appended");
	smem_buf_putc(&buf, 'y');
	tap_is_int((long long) smem_buf_len(&buf), 600, "nor afterwards");
	smem_buf_reset(&buf);
	smem_buf_append(&buf, bytes, sizeof(bytes));
	smem_buf_consume(&buf, 500);
	smem_buf_append(&buf, bytes, sizeof(bytes));
	tap_ok(!buf.failed && smem_buf_len(&buf) == 700, "consumed room is used again");
	smem_buf_consume(&buf, 700);
	smem_buf_trim(&buf, 100);
	tap_ok(buf.size == 0, "an empty buffer gives memory back");
	smem_buf_free(&buf);
}

/* A long stream through a small buffer, in pieces of many sizes. */
static void
check_stream(void)
{
	SmemBuf	 buf;
	unsigned in = 0;
	unsigned out = 0;
	bool	 same = true;

	smem_buf_init(&buf, 300);
	for (unsigned turn = 1; turn < 5000; turn++)
	{
		for (unsigned n = turn * 7 % 113; n > 0 && smem_buf_len(&buf) < 300; n--)
			smem_buf_putc(&buf, (char) (in++ % 251));
		for (unsigned n = turn * 11 % 127; n > 0 && smem_buf_len(&buf) > 0; n--)
		{
			same = same && *smem_buf_head(&buf) == (char) (out++ % 251);
			smem_buf_consume(&buf, 1);
		}
	}
	tap_ok(same && !buf.failed, "bytes come out as they went in");
	smem_buf_free(&buf);
}

int
main(void)
{
	check_growth();
	check_ceiling();
	check_stream();
	return tap_done();
}
