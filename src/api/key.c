/*
 * SQL face of the ledger's hash.
 */
#include "postgres.h"

#include "fmgr.h"
#include "outbox/key.h"
#include "pg/compat.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(somamem_key_hash);

static SmemStr
argument(text *value)
{
	SmemStr str = {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};

	return str;
}

Datum
somamem_key_hash(PG_FUNCTION_ARGS)
{
	pg_uuid_t *hash = palloc(sizeof(pg_uuid_t));

	smem_key_hash(argument(PG_GETARG_TEXT_PP(0)), argument(PG_GETARG_TEXT_PP(1)), hash->data);
	PG_RETURN_UUID_P(hash);
}
