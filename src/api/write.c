/*
 * memory_write and memory_write_batch.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "outbox/write.h"
#include "pg/jsonb.h"
#include "pg/settings.h"
#include "pg/shmem.h"
#include "policy/binding.h"
#include "policy/decide.h"
#include "policy/redact.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(somamem_memory_write);
PG_FUNCTION_INFO_V1(somamem_memory_write_batch);

/* Arguments of memory_write, by place. */
enum
{
	ARG_PAYLOAD,
	ARG_TENANT,
	ARG_SESSION,
	ARG_KEY,
	ARG_NAMESPACE,
	ARG_PERSONA,
	ARG_DELIVER_AFTER,
	ARG_TRACEPARENT
};

/* Arguments of memory_write_batch. */
enum
{
	BATCH_PAYLOADS,
	BATCH_TENANT,
	BATCH_SESSION,
	BATCH_NAMESPACE
};

static SmemStr
text_argument(FunctionCallInfo fcinfo, int number)
{
	SmemStr absent = {NULL, 0};
	text   *value;

	if (PG_ARGISNULL(number))
		return absent;
	value = PG_GETARG_TEXT_PP(number);
	return (SmemStr){VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

static void
require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

static TimestampTz
deliver_after_argument(FunctionCallInfo fcinfo)
{
	TimestampTz at;

	if (PG_ARGISNULL(ARG_DELIVER_AFTER))
		return 0;
	at = PG_GETARG_TIMESTAMPTZ(ARG_DELIVER_AFTER);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"deliver_after\" must be finite")));
	return at;
}

static JsonbContainer *
payload_argument(FunctionCallInfo fcinfo, int *len)
{
	Jsonb *payload = PG_GETARG_JSONB_P(ARG_PAYLOAD);

	*len = VARSIZE(payload) - VARHDRSZ;
	return smem_policy_redact(&payload->root, len);
}

/* The composite that SQL knows as somamem.write_receipt. */
static Datum
make_receipt(FunctionCallInfo fcinfo, const SmemWrite *write, const SmemClaim *claim)
{
	TupleDesc desc = lookup_rowtype_tupdesc(get_func_rettype(fcinfo->flinfo->fn_oid), -1);
	bool	  nulls[3] = {false, false, false};
	Datum	  values[3];
	Datum	  receipt;

	values[0] = Int64GetDatum(claim->id);
	values[1] = PointerGetDatum(cstring_to_text_with_len(write->key.data, write->key.len));
	values[2] = BoolGetDatum(claim->deduplicated);
	receipt = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	return receipt;
}

/* Policy stands before every write. */
static void
ask_policy(const SmemWriteArgs *args, const SmemWrite *writes, int n)
{
	SmemPolicyCaller caller = {.is_bound = args->tenant_is_bound};
	SmemPolicyWrite	 one;
	SmemPolicyWrite *asked = n > 1 ? palloc(sizeof(SmemPolicyWrite) * n) : &one;

	if (caller.is_bound)
		caller.tenant = args->tenant;
	for (int i = 0; i < n; i++)
	{
		asked[i].ordinal = writes[i].ordinal;
		asked[i].tenant = writes[i].tenant;
		asked[i].session = writes[i].session;
		asked[i].namespace = writes[i].namespace;
		asked[i].payload = writes[i].payload;
		asked[i].payload_len = writes[i].payload_len;
	}
	smem_policy_admit(&caller, asked, n);
}

Datum
somamem_memory_write(PG_FUNCTION_ARGS)
{
	MemoryContext	caller = CurrentMemoryContext;
	MemoryContext	context;
	SmemWriteArgs	args = {{0}};
	SmemWriteExtras extras;
	SmemHasher	   *hasher;
	SmemWrite		write;
	SmemClaim		claim;
	JsonbContainer *payload;
	int				payload_len;
	Datum			receipt;

	require_writable("memory_write()");
	if (PG_ARGISNULL(ARG_PAYLOAD))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("payload must not be null")));
	context = AllocSetContextCreate(caller, "somamem write", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	args.tenant = text_argument(fcinfo, ARG_TENANT);
	args.session = text_argument(fcinfo, ARG_SESSION);
	args.key = text_argument(fcinfo, ARG_KEY);
	args.namespace = text_argument(fcinfo, ARG_NAMESPACE);
	args.persona = text_argument(fcinfo, ARG_PERSONA);
	args.traceparent = text_argument(fcinfo, ARG_TRACEPARENT);
	smem_write_check_args(&args);
	args.tenant_is_bound = smem_binding_apply(fcinfo, &args.tenant);
	extras.traceparent = args.traceparent;
	extras.deliver_after = deliver_after_argument(fcinfo);
	payload = payload_argument(fcinfo, &payload_len);
	hasher = smem_hasher_open();
	smem_write_read(hasher, &args, payload, payload_len, 0, &write);
	smem_hasher_close(hasher);

	smem_require_preload();
	ask_policy(&args, &write, 1);
	smem_outbox_write(&write, 1, &extras, &claim);

	MemoryContextSwitchTo(caller);
	receipt = make_receipt(fcinfo, &write, &claim);
	MemoryContextDelete(context);
	PG_RETURN_DATUM(receipt);
}

/* Validates every element before the first is written; scratch of one is gone before the next. */
static SmemWrite *
read_elements(Jsonb *payloads, int n, const SmemWriteArgs *args)
{
	SmemWrite	 *writes = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(SmemWrite) * n);
	MemoryContext result = CurrentMemoryContext;
	MemoryContext scratch =
		AllocSetContextCreate(result, "somamem element", ALLOCSET_DEFAULT_SIZES);
	SmemHasher		  *hasher = smem_hasher_open();
	JsonbIterator	  *it = JsonbIteratorInit(&payloads->root);
	JsonbIteratorToken token;
	JsonbValue		   element;
	int				   done = 0;

	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		SmemWrite	   *write = &writes[done];
		JsonbContainer *object;

		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		object = smem_jsonb_object(&element);
		if (object == NULL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("payload %d must be a JSON object", done + 1)));
		object = smem_policy_redact(object, &element.val.binary.len);
		MemoryContextSwitchTo(scratch);
		smem_write_read(hasher, args, object, element.val.binary.len, done + 1, write);
		MemoryContextSwitchTo(result);
		write->key.data = pnstrdup(write->key.data, write->key.len);
		MemoryContextReset(scratch);
		done++;
	}
	smem_hasher_close(hasher);
	MemoryContextDelete(scratch);
	Assert(done == n);
	return writes;
}

static int
count_elements(Jsonb *payloads)
{
	int n;

	if (!JB_ROOT_IS_ARRAY(payloads) || JB_ROOT_IS_SCALAR(payloads))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"payloads\" must be a JSON array")));
	n = JB_ROOT_COUNT(payloads);
	if (n > smem_guc_batch_max_items)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many payloads in one batch"),
				 errdetail("There are %d; the setting \"somamem.batch_max_items\" allows %d.", n,
						   smem_guc_batch_max_items)));
	return n;
}

static void
put_receipts(ReturnSetInfo *rsinfo, const SmemWrite *writes, const SmemClaim *claims, int n)
{
	for (int i = 0; i < n; i++)
	{
		bool  nulls[4] = {false, false, false, false};
		Datum values[4];
		text *key = cstring_to_text_with_len(writes[i].key.data, writes[i].key.len);

		values[0] = Int32GetDatum(i + 1);
		values[1] = Int64GetDatum(claims[i].id);
		values[2] = PointerGetDatum(key);
		values[3] = BoolGetDatum(claims[i].deduplicated);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		pfree(key);
	}
}

Datum
somamem_memory_write_batch(PG_FUNCTION_ARGS)
{
	MemoryContext	caller = CurrentMemoryContext;
	MemoryContext	context;
	SmemWriteArgs	args = {{0}};
	SmemWriteExtras extras = {0};
	SmemWrite	   *writes;
	SmemClaim	   *claims;
	Jsonb		   *payloads;
	int				n;

	require_writable("memory_write_batch()");
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(BATCH_PAYLOADS))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("payloads must not be null")));
	context = AllocSetContextCreate(caller, "somamem batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	args.tenant = text_argument(fcinfo, BATCH_TENANT);
	args.session = text_argument(fcinfo, BATCH_SESSION);
	args.namespace = text_argument(fcinfo, BATCH_NAMESPACE);
	smem_write_check_args(&args);
	args.tenant_is_bound = smem_binding_apply(fcinfo, &args.tenant);
	payloads = PG_GETARG_JSONB_P(BATCH_PAYLOADS);
	n = count_elements(payloads);
	writes = read_elements(payloads, n, &args);

	smem_require_preload();
	if (n > 0)
	{
		ask_policy(&args, writes, n);
		claims = MemoryContextAllocHuge(context, sizeof(SmemClaim) * n);
		smem_outbox_write(writes, n, &extras, claims);
		put_receipts((ReturnSetInfo *) fcinfo->resultinfo, writes, claims, n);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return (Datum) 0;
}
