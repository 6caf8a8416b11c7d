#include "postgres.h"

#include "worker/config.h"

#include "access/xlog.h"
#include "core/frame.h"
#include "miscadmin.h"
#include "pg/query.h"
#include "pg/settings.h"

static void
put_text(SmemBuf *buf, const char *name, const char *value, uint32 *n)
{
	smem_put_str(buf, smem_str(name));
	smem_put_str(buf, smem_str(value ? value : ""));
	(*n)++;
}

static void
put_number(SmemBuf *buf, const char *name, int64 value, uint32 *n)
{
	char number[24];

	snprintf(number, sizeof(number), INT64_FORMAT, value);
	put_text(buf, name, number, n);
}

/*
 * Names the server for good: two databases that ever lived never share a
 * source, nor does an extension that was dropped and made again, whose ids
 * begin anew.
 */
static void
put_source(SmemBuf *buf, uint32 *n)
{
	char source[64];

	snprintf(source, sizeof(source), "somamem/" UINT64_FORMAT "/%u/%u", GetSystemIdentifier(),
			 MyDatabaseId, smem_served_extension());
	put_text(buf, "source", source, n);
}

static void
put_settings(SmemSink sink, SmemBuf *buf, uint32 *n)
{
	put_text(buf, "sink", smem_sink_name(sink), n);
	put_source(buf, n);
	put_number(buf, "retry_initial", smem_guc_retry_initial, n);
	put_number(buf, "retry_max", smem_guc_retry_max, n);
	if (sink == SMEM_SINK_KAFKA)
	{
		put_text(buf, "kafka_brokers", smem_guc_kafka_brokers, n);
		put_text(buf, "kafka_topic", smem_guc_kafka_topic, n);
		put_text(buf, "kafka_dead_letter_topic", smem_guc_kafka_dead_letter_topic, n);
		put_text(buf, "kafka_exactly_once", smem_guc_kafka_exactly_once ? "on" : "off", n);
		put_text(buf, "kafka_config_file", smem_guc_kafka_config_file, n);
		return;
	}
	put_text(buf, "somabrain_url", smem_guc_somabrain_url, n);
	put_text(buf, "somabrain_path_prefix", smem_guc_somabrain_path_prefix, n);
	put_text(buf, "somabrain_token_file", smem_guc_somabrain_token_file, n);
	put_text(buf, "somabrain_ca_file", smem_guc_somabrain_ca_file, n);
	put_number(buf, "somabrain_timeout", smem_guc_somabrain_timeout, n);
	put_number(buf, "somabrain_concurrency", smem_guc_somabrain_concurrency, n);
	put_number(buf, "somabrain_batch_items", smem_guc_somabrain_batch_items, n);
	put_number(buf, "somabrain_batch_bytes", (int64) smem_guc_somabrain_batch_kb * 1024, n);
}

/* A frame whose number of settings is filled in at its end. */
static size_t
begin_frame(SmemBuf *buf)
{
	size_t mark = smem_frame_begin(buf, SMEM_FRAME_CONFIG);

	smem_put_u32(buf, 0);
	return mark;
}

static void
end_frame(SmemBuf *buf, size_t mark, uint32 n)
{
	unsigned char *place;

	smem_frame_end(buf, mark);
	if (buf->failed)
		return;
	/* Behind the frame's length and type. */
	place = (unsigned char *) smem_buf_head(buf) + mark + 5;
	for (int i = 0; i < 4; i++)
		place[i] = (unsigned char) (n >> (8 * i));
}

void
smem_config_frame(SmemSink sink, SmemBuf *buf)
{
	size_t mark = begin_frame(buf);
	uint32 n = 0;

	put_settings(sink, buf, &n);
	end_frame(buf, mark, n);
}

void
smem_config_policy_frame(SmemBuf *buf)
{
	size_t mark = begin_frame(buf);
	uint32 n = 0;

	put_text(buf, "sink", "opa", &n);
	put_text(buf, "opa_url", smem_guc_opa_url, &n);
	put_text(buf, "opa_decision_path", smem_guc_opa_decision_path, &n);
	put_number(buf, "opa_timeout", smem_guc_opa_timeout, &n);
	end_frame(buf, mark, n);
}

void
smem_config_web_frame(SmemBuf *buf)
{
	size_t mark = begin_frame(buf);
	uint32 n = 0;

	put_text(buf, "sink", "web", &n);
	put_text(buf, "http_listen", smem_guc_http_listen, &n);
	put_text(buf, "metrics_listen", smem_guc_metrics_listen, &n);
	end_frame(buf, mark, n);
}
