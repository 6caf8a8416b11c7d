#include "postgres.h"

#include "outbox/payload.h"

#include "core/traceparent.h"
#include "mb/pg_wchar.h"
#include "pg/jsonb.h"
#include "pg/settings.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define MAX_NAME_BYTES 256
#define MAX_KEY_BYTES 1024
#define DEFAULT_NAMESPACE "wm"

/* The payload under inspection. */
typedef struct Reader
{
	SmemHasher	   *hasher;
	JsonbContainer *payload;
	int				payload_len;
	JsonbContainer *metadata; /* NULL where there is none */
	SmemStr			text;	  /* absent until payload_text was called */
	char			name[32]; /* how messages call the payload */
} Reader;

static void
refuse_field(const Reader *reader, const char *field, const char *rule)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s field \"%s\" %s", reader->name, field, rule)));
}

static void
refuse_argument(const char *argument, const char *rule)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("argument \"%s\" %s", argument, rule)));
}

/* The C1 set has two bytes in UTF-8; elsewhere its codes may be letters. */
static bool
has_control(SmemStr s)
{
	bool utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (size_t i = 0; i < s.len; i++)
	{
		unsigned char c = (unsigned char) s.data[i];

		if (c < 0x20 || c == 0x7f)
			return true;
		if (utf8 && c == 0xc2 && i + 1 < s.len && (unsigned char) s.data[i + 1] < 0xa0)
			return true;
	}
	return false;
}

/* What is wrong with a name, or NULL. */
static const char *
name_trouble(SmemStr s)
{
	if (s.len > MAX_NAME_BYTES)
		return "must have at most 256 bytes";
	if (has_control(s))
		return "must not contain control characters";
	return NULL;
}

static void
check_name_argument(const char *name, SmemStr value)
{
	const char *trouble;

	if (!smem_str_present(value))
		return;
	trouble = value.len == 0 ? "must not be empty" : name_trouble(value);
	if (trouble != NULL)
		refuse_argument(name, trouble);
}

void
smem_write_check_args(const SmemWriteArgs *args)
{
	check_name_argument("tenant", args->tenant);
	check_name_argument("session_id", args->session);
	check_name_argument("namespace", args->namespace);
	check_name_argument("persona_id", args->persona);
	if (smem_str_present(args->key))
	{
		if (args->key.len == 0)
			refuse_argument("idempotency_key", "must not be empty");
		if (args->key.len > MAX_KEY_BYTES)
			refuse_argument("idempotency_key", "must have at most 1024 bytes");
		if (has_control(args->key))
			refuse_argument("idempotency_key", "must not contain control characters");
	}
	if (smem_str_present(args->traceparent) &&
		!smem_traceparent_valid(args->traceparent.data, args->traceparent.len))
		refuse_argument("traceparent", "must have the form that W3C Trace Context gives it");
}

/* A string member; absent where it is missing, null or empty.  path is its name in messages. */
static SmemStr
read_string(const Reader *reader, JsonbContainer *object, const char *name, const char *path)
{
	SmemStr	   absent = {NULL, 0};
	JsonbValue value;

	if (object == NULL || smem_jsonb_member(object, name, &value) == NULL)
		return absent;
	if (value.type != jbvString)
		refuse_field(reader, path, "must be a string");
	return value.val.string.len == 0 ? absent : smem_jsonb_string(&value);
}

static SmemStr
read_required(const Reader *reader, const char *name)
{
	JsonbValue value;

	if (smem_jsonb_member(reader->payload, name, &value) == NULL)
		refuse_field(reader, name, "is missing");
	if (value.type != jbvString || value.val.string.len == 0)
		refuse_field(reader, name, "must be a non-empty string");
	return smem_jsonb_string(&value);
}

static void
read_metadata(Reader *reader)
{
	JsonbValue value;

	reader->metadata = NULL;
	if (smem_jsonb_member(reader->payload, "metadata", &value) == NULL)
		return;
	reader->metadata = smem_jsonb_object(&value);
	if (reader->metadata == NULL)
		refuse_field(reader, "metadata", "must be an object");
}

static bool
contradict(SmemStr a, SmemStr b)
{
	return smem_str_present(a) && smem_str_present(b) &&
		   (a.len != b.len || memcmp(a.data, b.data, a.len) != 0);
}

static void
check_name_field(const Reader *reader, const char *path, SmemStr value)
{
	const char *trouble = smem_str_present(value) ? name_trouble(value) : NULL;

	if (trouble != NULL)
		refuse_field(reader, path, trouble);
}

/* The argument, else the first of the payload's two places that has the value. */
static SmemStr
choose_name(const Reader *reader, const char *argument, SmemStr given, SmemStr top, SmemStr meta,
			int contradiction)
{
	SmemStr held = smem_str_present(top) ? top : meta;
	char	path[64];

	snprintf(path, sizeof(path), "%s%s", smem_str_present(top) ? "" : "metadata.", argument);
	if (contradict(given, held))
		ereport(ERROR,
				(errcode(contradiction), errmsg("argument \"%s\" contradicts %s field \"%s\"",
												argument, reader->name, path)));
	if (smem_str_present(given))
		return given;
	check_name_field(reader, path, held);
	return held;
}

static void
refuse_missing(const Reader *reader, const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s field \"%s\" is missing", reader->name, name),
					errhint("Give the argument \"%s\", or the field \"%s\" or \"metadata.%s\".",
							name, name, name)));
}

static void
check_bound(const Reader *reader, const char *path, SmemStr bound, SmemStr held)
{
	if (contradict(bound, held))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("%s field \"%s\" contradicts the tenant that the role is bound to",
							   reader->name, path)));
}

static SmemStr
read_tenant(const Reader *reader, const SmemWriteArgs *args)
{
	SmemStr top = read_string(reader, reader->payload, "tenant", "tenant");
	SmemStr meta = read_string(reader, reader->metadata, "tenant", "metadata.tenant");
	SmemStr tenant;

	if (contradict(top, meta))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("%s field \"tenant\" contradicts its field \"metadata.tenant\"",
							   reader->name)));
	if (args->tenant_is_bound)
	{
		check_bound(reader, "tenant", args->tenant, top);
		check_bound(reader, "metadata.tenant", args->tenant, meta);
	}
	tenant = choose_name(reader, "tenant", args->tenant, top, meta, ERRCODE_INSUFFICIENT_PRIVILEGE);
	if (!smem_str_present(tenant))
		refuse_missing(reader, "tenant");
	return tenant;
}

static SmemStr
read_session(const Reader *reader, SmemStr given)
{
	SmemStr top = read_string(reader, reader->payload, "session_id", "session_id");
	SmemStr meta = read_string(reader, reader->metadata, "session_id", "metadata.session_id");
	SmemStr session =
		choose_name(reader, "session_id", given, top, meta, ERRCODE_INVALID_PARAMETER_VALUE);

	if (!smem_str_present(session))
		refuse_missing(reader, "session_id");
	return session;
}

static SmemStr
read_namespace(const Reader *reader, SmemStr given)
{
	SmemStr absent = {NULL, 0};
	SmemStr meta = read_string(reader, reader->metadata, "namespace", "metadata.namespace");
	SmemStr namespace =
		choose_name(reader, "namespace", given, absent, meta, ERRCODE_INVALID_PARAMETER_VALUE);

	return smem_str_present(namespace) ? namespace : smem_str(DEFAULT_NAMESPACE);
}

static SmemStr
read_persona(const Reader *reader, SmemStr given)
{
	SmemStr absent = {NULL, 0};
	SmemStr top = read_string(reader, reader->payload, "persona_id", "persona_id");

	return choose_name(reader, "persona_id", given, top, absent, ERRCODE_INVALID_PARAMETER_VALUE);
}

/* Seconds since 1970 as a number, cut toward the past.  False when it is no year from 1 to 9999. */
static bool
cut_epoch(Numeric number, int64_t *seconds)
{
	Datum whole = DirectFunctionCall1(numeric_floor, NumericGetDatum(number));
	Datum min = NumericGetDatum(int64_to_numeric(SMEM_ISO8601_MIN));
	Datum max = NumericGetDatum(int64_to_numeric(SMEM_ISO8601_MAX));

	if (DatumGetBool(DirectFunctionCall2(numeric_lt, whole, min)) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, whole, max)))
		return false;
	*seconds = DatumGetInt64(DirectFunctionCall1(numeric_int8, whole));
	return true;
}

/* metadata.timestamp as the key shows it; "" where there is none. */
static void
read_timestamp(const Reader *reader, char timestamp[SMEM_ISO8601_SIZE])
{
	JsonbValue value;
	int64_t	   seconds = 0;
	bool	   understood = false;

	timestamp[0] = '\0';
	if (reader->metadata == NULL ||
		smem_jsonb_member(reader->metadata, "timestamp", &value) == NULL)
		return;
	if (value.type == jbvString)
	{
		SmemStr text = smem_jsonb_string(&value);

		if (text.len == 0)
			return;
		understood = smem_iso8601_parse(text.data, text.len, &seconds);
	}
	else if (value.type == jbvNumeric)
		understood = cut_epoch(value.val.numeric, &seconds);
	if (!understood)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s field \"metadata.timestamp\" must be a time", reader->name),
			 errdetail("A time is a text like 2024-05-08T13:56:00Z, with or without fraction and "
					   "zone, or a number of seconds since 1970.")));
	smem_iso8601_format(seconds, timestamp);
}

/* The payload's own name for itself: a string, or a number in its usual text. */
static SmemStr
read_id(const Reader *reader, const char *name)
{
	SmemStr	   absent = {NULL, 0};
	JsonbValue value;

	if (smem_jsonb_member(reader->payload, name, &value) == NULL)
		return absent;
	if (value.type == jbvNumeric)
		return smem_str(
			DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric))));
	if (value.type != jbvString)
		refuse_field(reader, name, "must be a string or a number");
	return value.val.string.len == 0 ? absent : smem_jsonb_string(&value);
}

/* The payload's text, which is written only where something asks for it. */
static SmemStr
payload_text(Reader *reader)
{
	if (!smem_str_present(reader->text))
	{
		StringInfoData text;

		initStringInfo(&text);
		(void) JsonbToCString(&text, reader->payload, reader->payload_len);
		reader->text.data = text.data;
		reader->text.len = text.len;
	}
	return reader->text;
}

static void
check_size(Reader *reader, const SmemJsonbSurvey *survey)
{
	Size max_bytes = (Size) smem_guc_max_payload_kb * 1024;

	if (survey->max_text <= max_bytes || payload_text(reader).len <= max_bytes)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("%s is too large", reader->name),
			 errdetail("Its text has %zu bytes; the setting \"somamem.max_payload\" allows %zu.",
					   payload_text(reader).len, max_bytes)));
}

/* Reads also what a caller's key makes needless: a wrong id is wrong in any case. */
static void
choose_key(Reader *reader, const SmemWriteArgs *args, SmemStr role, SmemWrite *write)
{
	SmemStr		 id = read_id(reader, "id");
	SmemStr		 message_id = read_id(reader, "message_id");
	SmemKeyParts parts = {write->tenant, write->namespace, write->session, role};

	read_timestamp(reader, parts.timestamp);
	write->key = args->key;
	write->key_is_new = false;
	if (smem_str_present(args->key))
		return;
	if (smem_str_present(id))
		parts.source = id;
	else if (smem_str_present(message_id))
		parts.source = message_id;
	else if (parts.timestamp[0] != '\0')
		parts.source = payload_text(reader);
	write->key_is_new = !smem_str_present(parts.source);
	write->key = smem_key_default(reader->hasher, &parts);
}

/* By this hash a repeat is told from other content, also when the payload is long gone. */
static void
hash_payload(const Reader *reader, const SmemJsonbSurvey *survey, SmemWrite *write)
{
	SmemStr bytes = {(const char *) reader->payload, (size_t) reader->payload_len};
	SmemStr parts[] = {write->tenant, write->session, write->namespace, write->persona, bytes};

	if (survey->padded_numbers)
	{
		Jsonb *trimmed = smem_jsonb_trim_numbers(reader->payload);

		parts[4].data = (const char *) &trimmed->root;
		parts[4].len = VARSIZE(trimmed) - VARHDRSZ;
	}
	smem_hash_parts(reader->hasher, parts, lengthof(parts), write->payload_hash);
}

void
smem_write_read(SmemHasher *hasher, const SmemWriteArgs *args, JsonbContainer *payload,
				int payload_len, int ordinal, SmemWrite *write)
{
	Reader			reader = {hasher, payload, payload_len, NULL, {NULL, 0}, "payload"};
	SmemJsonbSurvey survey = {0};
	SmemStr			role;

	if (ordinal > 0)
		snprintf(reader.name, sizeof(reader.name), "payload %d", ordinal);
	if (!JsonContainerIsObject(payload))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be a JSON object", reader.name)));
	(void) read_required(&reader, "type");
	role = read_required(&reader, "role");
	(void) read_required(&reader, "content");
	check_name_field(&reader, "role", role);
	read_metadata(&reader);

	write->ordinal = ordinal;
	write->payload = payload;
	write->payload_len = payload_len;
	write->tenant = read_tenant(&reader, args);
	write->session = read_session(&reader, args->session);
	write->namespace = read_namespace(&reader, args->namespace);
	write->persona = read_persona(&reader, args->persona);

	smem_jsonb_survey(payload, &survey);
	check_size(&reader, &survey);
	choose_key(&reader, args, role, write);
	smem_key_hash_by(hasher, write->tenant, write->key, write->key_hash);
	hash_payload(&reader, &survey, write);
}
