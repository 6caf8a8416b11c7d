#include "postgres.h"

#include "worker/web.h"

#include "core/encode.h"
#include "core/web.h"
#include "pg/health.h"
#include "utils/memutils.h"
#include "worker/attendant.h"
#include "worker/config.h"
#include "worker/metrics.h"

/* Less than a frame may have; 65,536 tenants with long names at two sinks come near to it. */
#define METRICS_MAX ((size_t) 60 * 1024 * 1024)
#define METRICS_KEEP ((size_t) 1024 * 1024)

static MemoryContext context; /* of one document */
static SmemBuf		 metrics;
static char reported[SMEM_ERROR_LEN]; /* empty: every address is served, as far as is known */

static void
put_document(SmemBuf *out, const SmemFetch *fetch, uint32 status, SmemStr body)
{
	SmemDocument document = {.number = fetch->number, .status = status, .body = body};

	smem_frame_document(out, &document);
}

/* Appends the document of the database that is named, or of all; false where there is none of that name. */
static bool
write_health(StringInfo text, const SmemFetch *fetch, SmemHealth *worst)
{
	SmemStr name = fetch->database;

	if (!smem_str_present(name))
		return smem_health_write_server(text, NULL, worst);
	return memchr(name.data, '\0', name.len) == NULL &&
		   smem_health_write_server(text, pnstrdup(name.data, name.len), worst);
}

/* Names and errors are in the encodings of their databases, of which this process knows nothing. */
static SmemStr
take_text(StringInfo text)
{
	smem_utf8_clean(text->data, (size_t) text->len);
	return (SmemStr){text->data, (size_t) text->len};
}

static void
put_health(SmemBuf *out, const SmemFetch *fetch)
{
	SmemStr		   unknown = smem_str("{\"error\":\"no such database has the extension\"}");
	StringInfoData text;
	SmemHealth	   worst;

	initStringInfo(&text);
	if (write_health(&text, fetch, &worst))
		put_document(out, fetch, worst == SMEM_HEALTH_DOWN ? 503 : 200, take_text(&text));
	else
		put_document(out, fetch, 404, unknown);
}

static void
put_ready(SmemBuf *out, const SmemFetch *fetch)
{
	StringInfoData why;

	initStringInfo(&why);
	if (smem_health_ready(&why))
		put_document(out, fetch, 200, smem_str("ready\n"));
	else
	{
		appendStringInfoChar(&why, '\n');
		put_document(out, fetch, 503, take_text(&why));
	}
}

static void
put_metrics(SmemBuf *out, const SmemFetch *fetch)
{
	smem_buf_reset(&metrics);
	smem_metrics_write(&metrics, fetch->openmetrics);
	if (metrics.failed)
		put_document(out, fetch, 500, smem_str("out of memory\n"));
	else
		put_document(out, fetch, 200, (SmemStr){smem_buf_head(&metrics), smem_buf_len(&metrics)});
	smem_buf_reset(&metrics);
	smem_buf_trim(&metrics, METRICS_KEEP);
}

static bool
take_fetch(uint8_t type, SmemReader *rd, SmemBuf *out)
{
	MemoryContext outer;
	SmemFetch	  fetch;

	if (type != SMEM_FRAME_FETCH)
		return false;
	smem_get_fetch(rd, &fetch);
	if (rd->bad)
		return false;
	outer = MemoryContextSwitchTo(context);
	switch (fetch.document)
	{
		case SMEM_WEB_HEALTH:
			put_health(out, &fetch);
			break;
		case SMEM_WEB_METRICS:
			put_metrics(out, &fetch);
			break;
		default:
			put_ready(out, &fetch);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextReset(context);
	return true;
}

/* Once when an address cannot be served, and once when all can. */
static void
report_addresses(const SmemSinkState *state)
{
	char	error[SMEM_ERROR_LEN];
	SmemStr cut = smem_cut_text(state->last_error, SMEM_ERROR_LEN - 1);

	snprintf(error, sizeof(error), "%.*s", (int) cut.len, cut.len > 0 ? cut.data : "");
	if (error[0] != '\0' && strcmp(error, reported) != 0)
		ereport(LOG, (errmsg("web worker %s", error)));
	else if (error[0] == '\0' && reported[0] != '\0' && state->circuit == SMEM_CIRCUIT_CLOSED)
		ereport(LOG, (errmsg("web worker listens on every address again")));
	if (error[0] != '\0' || state->circuit == SMEM_CIRCUIT_CLOSED)
		strlcpy(reported, error, sizeof(reported));
}

void
smem_web_main(Datum arg)
{
	static const SmemAttendantOps ops = {
		.name = "web worker",
		.config = smem_config_web_frame,
		.frame = take_fetch,
		.told = report_addresses,
	};

	context = AllocSetContextCreate(TopMemoryContext, "somamem document", ALLOCSET_DEFAULT_SIZES);
	smem_buf_init(&metrics, METRICS_MAX);
	smem_attend(&smem_shared->web, &ops);
}
