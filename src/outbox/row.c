#include "postgres.h"

#include "outbox/row.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

enum
{
	COL_ID = 1,
	COL_XID,
	COL_CREATED_AT,
	COL_DELIVER_AFTER,
	COL_TENANT,
	COL_SESSION,
	COL_NAMESPACE,
	COL_PERSONA,
	COL_KEY,
	COL_TRACEPARENT,
	COL_PAYLOAD
};

#define UNIX_EPOCH_SHIFT_US                                                                        \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

static Datum
column(SPITupleTable *table, uint64 i, int number, bool *isnull)
{
	return SPI_getbinval(table->vals[i], table->tupdesc, number, isnull);
}

int64_t
smem_row_id(SPITupleTable *table, uint64_t i)
{
	bool isnull;

	return DatumGetInt64(column(table, i, COL_ID, &isnull));
}

uint64_t
smem_row_xid(SPITupleTable *table, uint64_t i)
{
	bool isnull;

	return DatumGetUInt64(column(table, i, COL_XID, &isnull));
}

/* NULL where a character has no equal: an error would end the worker, again and again. */
static char *
convert(char *text, int len, int encoding, size_t *converted_len)
{
	Oid	  proc = FindDefaultConversionProc(encoding, PG_UTF8);
	int	  size = len * MAX_CONVERSION_GROWTH + 1;
	char *converted;

	if (!OidIsValid(proc) || len > (int) (MaxAllocSize / MAX_CONVERSION_GROWTH) - 1)
		return NULL;
	converted = palloc(size);
	if (pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8, (unsigned char *) text, len,
									  (unsigned char *) converted, size, true) < len)
		return NULL;
	*converted_len = strlen(converted);
	return converted;
}

/* Sinks speak UTF-8.  A text that cannot be turned into it marks the row, whose trouble that is. */
SmemStr
smem_row_utf8(char *text, int len, SmemOutboxRow *row)
{
	SmemStr str = {text, (size_t) len};
	int		encoding = GetDatabaseEncoding();
	char   *converted;

	if (encoding == PG_UTF8)
		return str;
	if (encoding == PG_SQL_ASCII)
	{
		if (!pg_verify_mbstr(PG_UTF8, text, len, true))
			row->unsendable = true;
		return str;
	}
	converted = convert(text, len, encoding, &str.len);
	if (converted == NULL)
		row->unsendable = true;
	else
		str.data = converted;
	return str;
}

static SmemStr
text_column(SPITupleTable *table, uint64 i, int number, SmemOutboxRow *row, char **raw)
{
	SmemStr absent = {NULL, 0};
	bool	isnull;
	Datum	value = column(table, i, number, &isnull);
	char   *string;

	if (isnull)
		return absent;
	string = TextDatumGetCString(value);
	if (raw != NULL)
		*raw = string;
	return smem_row_utf8(string, strlen(string), row);
}

void
smem_row_text(SPITupleTable *table, uint64_t i, int number, SmemOutboxRow *row, SmemStr *text)
{
	*text = text_column(table, i, number, row, NULL);
}

/* Member of an object, or NULL. */
static JsonbValue *
member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), value);
}

static bool
is_string_list(JsonbValue *value)
{
	JsonbIterator	  *it;
	JsonbValue		   element;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return false;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && element.type != jbvString)
			return false;
	}
	return true;
}

static bool
is_list(JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static bool
is_number(JsonbValue *value)
{
	return value->type == jbvNumeric;
}

static const struct
{
	const char *name;
	bool (*fits)(JsonbValue *value);
} item_members[] = {{"tags", is_string_list}, {"importance", is_number},
					{"novelty", is_number},	  {"ttl_seconds", is_number},
					{"links", is_list},		  {"attachments", is_list}};

/* Members that SomaBrain takes beside the value: from the payload, else from its metadata. */
static void
collect_extras(Jsonb *payload, JsonbContainer *metadata, SmemOutboxRow *row)
{
	StringInfoData text;
	JsonbValue	   value;

	text.data = NULL;
	for (int i = 0; i < lengthof(item_members); i++)
	{
		const char *name = item_members[i].name;
		Jsonb	   *whole;

		if (!(member(&payload->root, name, &value) && item_members[i].fits(&value)) &&
			!(metadata && member(metadata, name, &value) && item_members[i].fits(&value)))
			continue;
		if (text.data == NULL)
			initStringInfo(&text);
		whole = JsonbValueToJsonb(&value);
		appendStringInfo(&text, "%s\"%s\":", text.len > 0 ? "," : "", name);
		(void) JsonbToCString(&text, &whole->root, VARSIZE(whole));
	}
	if (text.data != NULL)
		row->row.extras = smem_row_utf8(text.data, text.len, row);
}

static void
decode_payload(Jsonb *payload, SmemSink sink, SmemOutboxRow *row)
{
	StringInfoData	text;
	JsonbValue		value;
	JsonbValue		held;
	JsonbContainer *metadata = NULL;

	initStringInfo(&text);
	(void) JsonbToCString(&text, &payload->root, VARSIZE(payload));
	row->row.payload = smem_row_utf8(text.data, text.len, row);
	if (member(&payload->root, "role", &value) && value.type == jbvString)
		row->row.role = smem_row_utf8(pnstrdup(value.val.string.val, value.val.string.len),
									  value.val.string.len, row);
	if (sink != SMEM_SINK_SOMABRAIN)
		return;
	if (member(&payload->root, "metadata", &held) && held.type == jbvBinary &&
		JsonContainerIsObject(held.val.binary.data))
		metadata = held.val.binary.data;
	if (metadata && member(metadata, "universe_id", &value) && value.type == jbvString)
		row->row.universe = smem_row_utf8(pnstrdup(value.val.string.val, value.val.string.len),
										  value.val.string.len, row);
	collect_extras(payload, metadata, row);
}

void
smem_row_decode(SPITupleTable *table, uint64_t i, SmemSink sink, SmemOutboxRow *row)
{
	bool  isnull;
	Datum value;

	memset(row, 0, sizeof(*row));
	row->row.id = smem_row_id(table, i);
	row->xid = smem_row_xid(table, i);
	row->created_at = DatumGetTimestampTz(column(table, i, COL_CREATED_AT, &isnull));
	row->row.created_us = row->created_at + UNIX_EPOCH_SHIFT_US;
	value = column(table, i, COL_DELIVER_AFTER, &isnull);
	row->deliver_after = isnull ? 0 : DatumGetTimestampTz(value);
	row->row.tenant = text_column(table, i, COL_TENANT, row, &row->tenant);
	row->row.session = text_column(table, i, COL_SESSION, row, &row->session);
	row->row.namespace = text_column(table, i, COL_NAMESPACE, row, NULL);
	row->row.persona = text_column(table, i, COL_PERSONA, row, NULL);
	row->row.key = text_column(table, i, COL_KEY, row, NULL);
	row->row.traceparent = text_column(table, i, COL_TRACEPARENT, row, NULL);
	value = column(table, i, COL_PAYLOAD, &isnull);
	decode_payload(DatumGetJsonbP(value), sink, row);
}
