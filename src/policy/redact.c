#include "postgres.h"

#include "policy/redact.h"

#include "core/pii.h"
#include "mb/pg_wchar.h"
#include "pg/jsonb.h"
#include "pg/settings.h"
#include "policy/input.h"

static Jsonb *
with_content(JsonbContainer *payload, int len, const SmemBuf *content)
{
	JsonbValue value = {.type = jbvBinary};
	SmemStr	   text = {smem_buf_head(content), smem_buf_len(content)};

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
		text = smem_str(pg_any_to_server(pnstrdup(text.data, text.len), (int) text.len, PG_UTF8));
	value.val.binary.data = payload;
	value.val.binary.len = len;
	return smem_jsonb_merge(JsonbValueToJsonb(&value), smem_jsonb_of_text("content", text));
}

JsonbContainer *
smem_policy_redact(JsonbContainer *payload, int *len)
{
	Jsonb  *masked = NULL;
	SmemStr content;
	SmemBuf out;

	if (smem_guc_pii_filter != SMEM_PII_REDACT)
		return payload;
	content = smem_input_text(payload, "content");
	/* Such a payload is refused for its size. */
	if (content.len > (Size) smem_guc_max_payload_kb * 1024)
		return payload;
	content = smem_input_utf8(content);
	smem_buf_init(&out, SMEM_FRAME_MAX);
	PG_TRY();
	{
		if (smem_str_present(content) && smem_pii_mask(content, &out))
		{
			if (out.failed)
				ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
								errdetail("Failed to mask personal data.")));
			masked = with_content(payload, *len, &out);
		}
	}
	PG_FINALLY();
	{
		smem_buf_free(&out);
	}
	PG_END_TRY();
	if (masked == NULL)
		return payload;
	*len = VARSIZE(masked) - VARHDRSZ;
	return &masked->root;
}
