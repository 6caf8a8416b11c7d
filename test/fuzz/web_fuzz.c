/*
 * Frames of documents, and the texts that the web sink reads: headers, paths,
 * addresses.
 *
 * Claims: nothing is read past a frame; what was read whole is the same bytes
 * when it is written again; an address that is taken is made of the text's own
 * parts.
 */
#include "core/web.h"
#include "courier/web_text.h"
#include "fuzz.h"

static void
read_fetch(const SmemBuf *buf, SmemReader rd)
{
	SmemStr	  frame = {rd.at, (size_t) (rd.end - rd.at)};
	SmemFetch fetch;
	SmemBuf	  again;

	smem_get_fetch(&rd, &fetch);
	FUZZ_CLAIM(rd.at <= rd.end && is_within(fetch.database, frame));
	if (rd.bad)
		return;
	smem_buf_init(&again, SMEM_FRAME_MAX);
	smem_frame_fetch(&again, &fetch);
	check_frame(&again, buf);
}

static void
read_document(const SmemBuf *buf, SmemReader rd)
{
	SmemStr		 frame = {rd.at, (size_t) (rd.end - rd.at)};
	SmemDocument document;
	SmemBuf		 again;

	smem_get_document(&rd, &document);
	FUZZ_CLAIM(rd.at <= rd.end && is_within(document.body, frame));
	if (rd.bad)
		return;
	smem_buf_init(&again, SMEM_FRAME_MAX);
	smem_frame_document(&again, &document);
	check_frame(&again, buf);
}

static void
read_texts(const char *text)
{
	SmemWebPlace place;

	/* What names neither is asked for by nobody. */
	if (smem_web_wants_openmetrics(text))
		FUZZ_CLAIM(strcasestr(text, "application/openmetrics-text") != NULL);
	if (smem_web_wants_gzip(text))
		FUZZ_CLAIM(strcasestr(text, "gzip") != NULL || strchr(text, '*') != NULL);
	(void) smem_web_path(text, true);
	if (smem_web_place(text, &place))
	{
		char again[SMEM_WEB_HOST + SMEM_WEB_PORT + 3];

		snprintf(again, sizeof(again), text[0] == '[' ? "[%s]:%s" : "%s:%s", place.host,
				 place.port);
		FUZZ_CLAIM(strcmp(again, text) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	  *text = malloc(size + 1);
	SmemBuf	   buf;
	SmemReader rd;
	uint8_t	   type;

	memcpy(text, data, size);
	text[size] = '\0';
	read_texts(text);
	free(text);
	smem_buf_init(&buf, SMEM_FRAME_MAX);
	smem_buf_append(&buf, data, size);
	while (smem_frame_next(&buf, &type, &rd) == SMEM_FRAME_READY)
	{
		if (type == SMEM_FRAME_FETCH)
			read_fetch(&buf, rd);
		else if (type == SMEM_FRAME_DOCUMENT)
			read_document(&buf, rd);
		smem_buf_consume(&buf, smem_frame_size(&buf));
	}
	smem_buf_free(&buf);
	return 0;
}
