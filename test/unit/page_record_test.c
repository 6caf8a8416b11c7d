/* The record of a page: what is written is read, and nothing else is. */
#include <stdlib.h>

#include "courier/page_record.h"
#include "tap.h"

static SmemPageRecord record;
static SmemPageRecord got;

static void
check_text(const char *want)
{
	SmemBuf buf;

	smem_buf_init(&buf, 1 << 20);
	smem_page_record_put(&buf, &record);
	tap_is(smem_buf_text(&buf), want, "text");
	memset(&got, 0xff, sizeof(got));
	tap_ok(smem_page_record_read(smem_str(smem_buf_text(&buf)), &got) &&
			   smem_page_record_equal(&record, &got),
		   "is read back");
	smem_buf_free(&buf);
}

static void
set_ids(uint64_t page, uint32_t n, const int64_t *ids)
{
	record.page = page;
	record.n = n;
	memcpy(record.ids, ids, n * sizeof(*ids));
}

static void
check_texts(void)
{
	static const int64_t mixed[] = {1000, 1001, 1002, 7, -3, -2, -1, 0, INT64_MIN, INT64_MAX, 5};

	set_ids(1, 1, mixed);
	check_text("{\"page\":1,\"ids\":\"1000\"}");
	set_ids(UINT64_MAX, 11, mixed);
	check_text("{\"page\":18446744073709551615,\"ids\":"
			   "\"1000+2,7,-3+3,-9223372036854775808,9223372036854775807,5\"}");
	record.n = SMEM_PAGE_ROWS_MAX;
	for (int i = 0; i < SMEM_PAGE_ROWS_MAX; i++)
		record.ids[i] = 50 + i;
	record.page = 9;
	check_text("{\"page\":9,\"ids\":\"50+1999\"}");
}

static void
check_wide(void)
{
	SmemBuf buf;

	record.n = SMEM_PAGE_ROWS_MAX;
	record.page = 3;
	for (int i = 0; i < SMEM_PAGE_ROWS_MAX; i++)
		record.ids[i] = (i % 2 ? 1 : -1) * (INT64_MAX - 3 * i);
	smem_buf_init(&buf, 1 << 20);
	smem_page_record_put(&buf, &record);
	tap_ok(smem_buf_len(&buf) < 50000, "a page without any run is small enough (%zu bytes)",
		   smem_buf_len(&buf));
	tap_ok(smem_page_record_read(smem_str(smem_buf_text(&buf)), &got) &&
			   smem_page_record_equal(&record, &got),
		   "and is read back");
	got.ids[1999]++;
	tap_ok(!smem_page_record_equal(&record, &got), "another id is another page");
	smem_buf_free(&buf);
}

static void
check_refused(void)
{
	static const char *const cases[] = {
		"",
		"{}",
		"{\"page\":,\"ids\":\"1\"}",
		"{\"page\":0,\"ids\":\"1\"}",
		"{\"page\":1,\"ids\":\"\"}",
		"{\"page\":1,\"ids\":\"1\"",
		"{\"page\":1,\"ids\":\"1\"} ",
		"{\"page\":1,\"ids\":\"1,\"}",
		"{\"page\":1,\"ids\":\"1+\"}",
		"{\"page\":1,\"ids\":\"--1\"}",
		"{\"page\":1,\"ids\":\"1+2000\"}",
		"{\"page\":1,\"ids\":\"1+1999,7\"}",
		"{\"page\":1,\"ids\":\"9223372036854775808\"}",
		"{\"page\":1,\"ids\":\"9223372036854775807+1\"}",
		"{\"page\":18446744073709551616,\"ids\":\"1\"}",
		"{\"page\":1,\"ids\":\"1+99999999999999999999999\"}",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		/* On the heap and without a NUL, so that reading on is seen. */
		size_t len = strlen(cases[i]);
		char  *copy = malloc(len + !len);

		memcpy(copy, cases[i], len);
		tap_ok(!smem_page_record_read((SmemStr){copy, len}, &got), "refused: %s", cases[i]);
		free(copy);
	}
	tap_ok(!smem_page_record_read((SmemStr){NULL, 0}, &got), "refused: nothing");
}

int
main(void)
{
	check_texts();
	check_wide();
	check_refused();
	return tap_done();
}
