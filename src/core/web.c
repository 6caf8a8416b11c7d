#include "core/web.h"

void
smem_frame_fetch(SmemBuf *buf, const SmemFetch *fetch)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_FETCH);

	smem_put_u32(buf, fetch->number);
	smem_put_u8(buf, fetch->document);
	smem_put_u8(buf, fetch->openmetrics);
	smem_put_str(buf, fetch->database);
	smem_frame_end(buf, mark);
}

void
smem_frame_document(SmemBuf *buf, const SmemDocument *document)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_DOCUMENT);

	smem_put_u32(buf, document->number);
	smem_put_u32(buf, document->status);
	smem_put_str(buf, document->body);
	smem_frame_end(buf, mark);
}

void
smem_get_fetch(SmemReader *rd, SmemFetch *fetch)
{
	uint8_t openmetrics;

	fetch->number = smem_get_u32(rd);
	fetch->document = smem_get_u8(rd);
	openmetrics = smem_get_u8(rd);
	fetch->openmetrics = openmetrics == 1;
	fetch->database = smem_get_str(rd);
	if (fetch->document < SMEM_WEB_HEALTH || fetch->document > SMEM_WEB_READY || openmetrics > 1 ||
		rd->at != rd->end)
		rd->bad = true;
}

void
smem_get_document(SmemReader *rd, SmemDocument *document)
{
	document->number = smem_get_u32(rd);
	document->status = smem_get_u32(rd);
	document->body = smem_get_str(rd);
	if (document->status < 200 || document->status > 599 || !smem_str_present(document->body) ||
		rd->at != rd->end)
		rd->bad = true;
}
