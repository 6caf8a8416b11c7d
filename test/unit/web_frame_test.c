/* Frames of documents: what goes in comes out, and what makes no sense is bad. */
#include "core/web.h"
#include "tap.h"

static SmemBuf buf;

static bool
same(SmemStr a, SmemStr b)
{
	return a.len == b.len && (a.data == NULL) == (b.data == NULL) &&
		   (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static SmemReader
reader_of(uint8_t want)
{
	SmemReader rd;
	uint8_t	   type;

	if (smem_frame_next(&buf, &type, &rd) != SMEM_FRAME_READY || type != want)
		tap_ok(false, "a whole frame of type %c", want);
	return rd;
}

static SmemFetch
read_fetch(const SmemFetch *fetch, bool *bad)
{
	SmemFetch  got;
	SmemReader rd;

	smem_buf_reset(&buf);
	smem_frame_fetch(&buf, fetch);
	rd = reader_of(SMEM_FRAME_FETCH);
	smem_get_fetch(&rd, &got);
	*bad = rd.bad;
	return got;
}

static SmemDocument
read_document(const SmemDocument *document, bool *bad)
{
	SmemDocument got;
	SmemReader	 rd;

	smem_buf_reset(&buf);
	smem_frame_document(&buf, document);
	rd = reader_of(SMEM_FRAME_DOCUMENT);
	smem_get_document(&rd, &got);
	*bad = rd.bad;
	return got;
}

static void
check_fetches(void)
{
	SmemFetch fetch = {.number = UINT32_MAX,
					   .document = SMEM_WEB_METRICS,
					   .openmetrics = true,
					   .database = smem_str("app")};
	SmemFetch got;
	bool	  bad;
	int		  taken = 0;

	got = read_fetch(&fetch, &bad);
	tap_ok(!bad && got.number == UINT32_MAX && got.document == SMEM_WEB_METRICS &&
			   got.openmetrics && same(got.database, fetch.database),
		   "a fetch");
	fetch.openmetrics = false;
	fetch.database = smem_str(NULL);
	got = read_fetch(&fetch, &bad);
	tap_ok(!bad && !got.openmetrics && !smem_str_present(got.database), "without a database");
	fetch.database = smem_str("");
	got = read_fetch(&fetch, &bad);
	tap_ok(!bad && smem_str_present(got.database), "an empty name is one");
	for (int document = 0; document < 256; document++)
	{
		fetch.document = (uint8_t) document;
		(void) read_fetch(&fetch, &bad);
		taken += !bad;
	}
	tap_is_int(taken, 3, "of 256 documents three are known");
	fetch.document = SMEM_WEB_READY;
	(void) read_fetch(&fetch, &bad);
	/* Length, type, number, document. */
	smem_buf_head(&buf)[10] = 2;
	{
		SmemReader rd = reader_of(SMEM_FRAME_FETCH);

		smem_get_fetch(&rd, &got);
		tap_ok(rd.bad, "a claim is 0 or 1");
	}
}

static void
check_documents(void)
{
	SmemDocument document = {.number = 3, .status = 200, .body = smem_str("{}")};
	SmemDocument got;
	bool		 bad;
	int			 taken = 0;

	got = read_document(&document, &bad);
	tap_ok(!bad && got.number == 3 && got.status == 200 && same(got.body, document.body),
		   "a document");
	document.body = smem_str("");
	(void) read_document(&document, &bad);
	tap_ok(!bad, "an empty one");
	document.body = smem_str(NULL);
	(void) read_document(&document, &bad);
	tap_ok(bad, "one without a body is bad");
	document.body = smem_str("x");
	for (uint32_t status = 0; status < 1000; status++)
	{
		document.status = status;
		(void) read_document(&document, &bad);
		taken += !bad;
	}
	tap_is_int(taken, 400, "the status is one that ends a request");
}

/* A frame that is cut anywhere, or has a byte too many, with its length made to fit. */
static void
check_lengths(void)
{
	SmemFetch	 fetch = {.number = 1, .document = SMEM_WEB_HEALTH, .database = smem_str("db")};
	SmemDocument document = {.number = 1, .status = 404, .body = smem_str("none")};
	bool		 all_bad = true;

	for (int which = 0; which < 2; which++)
	{
		size_t whole;

		smem_buf_reset(&buf);
		if (which == 0)
			smem_frame_fetch(&buf, &fetch);
		else
			smem_frame_document(&buf, &document);
		whole = smem_buf_len(&buf);
		smem_buf_putc(&buf, 'x');
		for (size_t n = 5; n <= whole + 1; n++)
		{
			SmemReader	 rd = {smem_buf_head(&buf) + 5, smem_buf_head(&buf) + n, false};
			SmemFetch	 f;
			SmemDocument d;

			if (n == whole)
				continue;
			if (which == 0)
				smem_get_fetch(&rd, &f);
			else
				smem_get_document(&rd, &d);
			all_bad = all_bad && rd.bad;
		}
	}
	tap_ok(all_bad, "a frame of any other length is bad");
}

int
main(void)
{
	smem_buf_init(&buf, 65536);
	check_fetches();
	check_documents();
	check_lengths();
	smem_buf_free(&buf);
	return tap_done();
}
