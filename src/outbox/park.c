#include "postgres.h"

#include "outbox/park.h"

#include "catalog/pg_type.h"
#include "outbox/snapshot.h"
#include "pg/query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ROWS_PER_SESSION 50

static Datum
sink_datum(SmemSink sink)
{
	return CStringGetTextDatum(smem_sink_name(sink));
}

static Datum
make_array(Datum *elements, bool *nulls, int n, Oid type)
{
	int	 dims[1] = {n};
	int	 lower[1] = {1};
	bool wide = type == INT8OID || type == TIMESTAMPTZOID;

	if (wide)
		return PointerGetDatum(construct_md_array(elements, nulls, 1, dims, lower, type, 8,
												  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return PointerGetDatum(construct_md_array(elements, nulls, 1, dims, lower, type,
											  type == INT4OID ? 4 : -1, type == INT4OID,
											  TYPALIGN_INT));
}

static Datum
id_array(const int64_t *ids, int n)
{
	Datum *elements = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	return make_array(elements, NULL, n, INT8OID);
}

/* Several arrays unnest side by side only without a schema's name; the parser then takes pg_catalog's. */
void
smem_park(SmemSink sink, const SmemParked *rows, int n)
{
	static SmemQuery query = {
		"INSERT INTO somamem.parked AS p (sink, id, tenant, session_id, state, attempts, next_attempt_at,"
		" commit_at, class, last_error)"
		" SELECT $1, r.id, r.tenant, r.session_id, r.state, r.attempts, r.next_attempt_at, r.commit_at, r.class,"
		" r.last_error FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10) AS r (id, tenant,"
		" session_id, state, attempts, next_attempt_at, commit_at, class, last_error)"
		" ON CONFLICT (sink, id) DO UPDATE SET state = excluded.state,"
		" next_attempt_at = excluded.next_attempt_at,"
		" attempts = CASE WHEN excluded.state = 'held' THEN greatest(p.attempts - 1, 0)"
		"  ELSE greatest(p.attempts, excluded.attempts) END,"
		" class = coalesce(excluded.class, p.class), last_error = coalesce(excluded.last_error, p.last_error)",
		10,
		{TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
		 TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
	Datum			*col[9];
	bool			*null[9];
	Datum			 args[10];
	static const Oid type[9] = {INT8OID,		TEXTOID,		TEXTOID, TEXTOID, INT4OID,
								TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};

	if (n == 0)
		return;
	for (int c = 0; c < 9; c++)
	{
		col[c] = palloc0(sizeof(Datum) * n);
		null[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const SmemParked *row = &rows[i];

		col[0][i] = Int64GetDatum(row->id);
		col[1][i] = CStringGetTextDatum(row->tenant);
		col[2][i] = CStringGetTextDatum(row->session);
		col[3][i] = CStringGetTextDatum(row->state);
		col[4][i] = Int32GetDatum(row->attempts);
		col[5][i] = TimestampTzGetDatum(row->next_attempt_at);
		null[5][i] = row->next_attempt_at == 0;
		col[6][i] = TimestampTzGetDatum(row->commit_at);
		null[7][i] = row->class == NULL;
		null[8][i] = row->error == NULL;
		if (row->class != NULL)
			col[7][i] = CStringGetTextDatum(row->class);
		if (row->error != NULL)
			col[8][i] = CStringGetTextDatum(row->error);
	}
	args[0] = sink_datum(sink);
	for (int c = 0; c < 9; c++)
		args[c + 1] = make_array(col[c], null[c], n, type[c]);
	smem_query(&query, args, NULL, 0);
}

void
smem_bury(SmemSink sink, const SmemDead *rows, int n)
{
	static SmemQuery query = {
		"INSERT INTO somamem.dead_letter (sink, id, tenant, session_id, namespace, persona_id, idempotency_key,"
		" traceparent, payload, class, reason, attempts, created_at)"
		" SELECT $1, o.id, o.tenant, o.session_id, o.namespace, o.persona_id, o.idempotency_key, o.traceparent,"
		" o.payload, d.class, d.reason, d.attempts, o.created_at"
		" FROM unnest($2, $3, $4, $5) AS d (id, class, reason, attempts)"
		" JOIN somamem.outbox o ON o.id = d.id AND o.xid <> " SMEM_XID_COPY_SQL
		" ON CONFLICT (sink, id) DO NOTHING",
		5,
		{TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}};
	Datum			*col[4];
	Datum			 args[5];
	static const Oid type[4] = {INT8OID, TEXTOID, TEXTOID, INT4OID};

	if (n == 0)
		return;
	for (int c = 0; c < 4; c++)
		col[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		col[0][i] = Int64GetDatum(rows[i].id);
		col[1][i] = CStringGetTextDatum(rows[i].class);
		col[2][i] = CStringGetTextDatum(rows[i].reason);
		col[3][i] = Int32GetDatum(rows[i].attempts);
	}
	args[0] = sink_datum(sink);
	for (int c = 0; c < 4; c++)
		args[c + 1] = make_array(col[c], NULL, n, type[c]);
	smem_query(&query, args, NULL, 0);
}

void
smem_unpark(SmemSink sink, const int64_t *ids, int n)
{
	static SmemQuery query = {
		"DELETE FROM somamem.parked WHERE sink = $1 AND id = ANY ($2)", 2, {TEXTOID, INT8ARRAYOID}};
	Datum args[2];

	if (n == 0)
		return;
	args[0] = sink_datum(sink);
	args[1] = id_array(ids, n);
	smem_query(&query, args, NULL, 0);
}

void
smem_park_promote(SmemSink sink, const char **tenants, const char **sessions, int n)
{
	static SmemQuery query = {
		"UPDATE somamem.parked p SET next_attempt_at = pg_catalog.clock_timestamp()"
		" FROM (SELECT DISTINCT k.t, k.s FROM unnest($2, $3) AS k (t, s)) AS s,"
		" LATERAL (SELECT f.id, f.next_attempt_at FROM somamem.parked f WHERE f.sink = $1 AND f.tenant = s.t"
		"  AND f.session_id = s.s AND f.state <> 'delayed' ORDER BY f.id LIMIT 1) AS head"
		" WHERE p.sink = $1 AND p.id = head.id AND head.next_attempt_at IS NULL",
		3,
		{TEXTOID, TEXTARRAYOID, TEXTARRAYOID}};
	Datum *t = palloc(sizeof(Datum) * (n + 1));
	Datum *s = palloc(sizeof(Datum) * (n + 1));
	Datum  args[3];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		t[i] = CStringGetTextDatum(tenants[i]);
		s[i] = CStringGetTextDatum(sessions[i]);
	}
	args[0] = sink_datum(sink);
	args[1] = make_array(t, NULL, n, TEXTOID);
	args[2] = make_array(s, NULL, n, TEXTOID);
	smem_query(&query, args, NULL, 0);
}

int
smem_park_delivered(SmemSink sink, const int64_t *ids, int n, int64_t **found)
{
	static SmemQuery query = {"DELETE FROM somamem.parked WHERE sink = $1 AND id = ANY ($2)"
							  " RETURNING id, tenant, session_id",
							  2,
							  {TEXTOID, INT8ARRAYOID}};
	Datum			 args[2] = {sink_datum(sink), id_array(ids, n)};
	int				 gone = (int) smem_query(&query, args, NULL, 0);
	const char	   **tenants = palloc(sizeof(char *) * (gone + 1));
	const char	   **sessions = palloc(sizeof(char *) * (gone + 1));

	*found = palloc(sizeof(int64_t) * (gone + 1));
	for (int i = 0; i < gone; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool	  isnull;

		(*found)[i] = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		tenants[i] = SPI_getvalue(tuple, desc, 2);
		sessions[i] = SPI_getvalue(tuple, desc, 3);
	}
	smem_park_promote(sink, tenants, sessions, gone);
	return gone;
}

bool
smem_park_blocks(SmemSink sink, const char *tenant, const char *session, const int64_t *leading,
				 int n)
{
	static SmemQuery query = {
		"SELECT 1 FROM somamem.parked WHERE sink = $1 AND tenant = $2 AND session_id = $3"
		" AND state <> 'delayed' AND id <> ALL ($4) LIMIT 1",
		4,
		{TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}};
	Datum args[4] = {sink_datum(sink), CStringGetTextDatum(tenant), CStringGetTextDatum(session),
					 id_array(leading, n)};

	return smem_query(&query, args, NULL, 1) > 0;
}

int64_t
smem_park_head(SmemSink sink, const char *tenant, const char *session)
{
	static SmemQuery query = {
		"SELECT id FROM somamem.parked WHERE sink = $1 AND tenant = $2 AND session_id = $3"
		" AND state <> 'delayed' ORDER BY id LIMIT 1",
		3,
		{TEXTOID, TEXTOID, TEXTOID}};
	Datum args[3] = {sink_datum(sink), CStringGetTextDatum(tenant), CStringGetTextDatum(session)};
	bool  isnull;

	if (smem_query(&query, args, NULL, 1) == 0)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool
smem_park_holds_tenant(SmemSink sink, const char *tenant)
{
	static SmemQuery query = {
		"SELECT 1 FROM somamem.parked WHERE sink = $1 AND tenant = $2 AND state = 'held' LIMIT 1",
		2,
		{TEXTOID, TEXTOID}};
	Datum args[2] = {sink_datum(sink), CStringGetTextDatum(tenant)};

	return smem_query(&query, args, NULL, 1) > 0;
}

int
smem_park_wake_delayed(SmemSink sink, char ***tenants)
{
	static SmemQuery query = {
		"UPDATE somamem.parked p SET state = 'behind', commit_at = p.next_attempt_at,"
		" next_attempt_at = CASE WHEN EXISTS (SELECT 1 FROM somamem.parked f WHERE f.sink = $1"
		"  AND f.tenant = p.tenant AND f.session_id = p.session_id AND f.state <> 'delayed')"
		"  THEN NULL ELSE p.next_attempt_at END"
		" WHERE p.sink = $1 AND p.state = 'delayed' AND p.next_attempt_at <= pg_catalog.clock_timestamp()"
		" RETURNING p.tenant",
		1,
		{TEXTOID}};
	Datum args[1] = {sink_datum(sink)};
	int	  n = (int) smem_query(&query, args, NULL, 0);

	*tenants = palloc(sizeof(char *) * (n + 1));
	for (int i = 0; i < n; i++)
		(*tenants)[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	return n;
}

int
smem_park_tenants(SmemSink sink, SmemParkedTenant **tenants)
{
	static SmemQuery query = {
		"SELECT tenant, count(*), min(commit_at) FROM somamem.parked WHERE sink = $1"
		" AND state <> 'delayed' GROUP BY tenant",
		1,
		{TEXTOID}};
	Datum args[1] = {sink_datum(sink)};
	int	  n = (int) smem_query(&query, args, NULL, 0);

	*tenants = palloc(sizeof(SmemParkedTenant) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool	  isnull;

		(*tenants)[i].tenant = SPI_getvalue(tuple, desc, 1);
		(*tenants)[i].rows = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		(*tenants)[i].oldest = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	return n;
}

int
smem_park_due(SmemSink sink, int max_sessions, TimestampTz lease, SmemDue **due)
{
	static SmemQuery query = {
		"WITH turn AS MATERIALIZED (SELECT DISTINCT t.tenant, t.session_id FROM"
		"  (SELECT tenant, session_id FROM somamem.parked WHERE sink = $1 AND state <> 'delayed'"
		"   AND next_attempt_at <= pg_catalog.clock_timestamp() ORDER BY next_attempt_at LIMIT $2) t),"
		" run AS MATERIALIZED (SELECT r.* FROM turn, LATERAL (SELECT p.id, p.tenant, p.session_id, p.attempts,"
		"  p.next_attempt_at, p.commit_at FROM somamem.parked p WHERE p.sink = $1 AND p.tenant = turn.tenant"
		"  AND p.session_id = turn.session_id AND p.state <> 'delayed' ORDER BY p.id LIMIT " CppAsString2(
			ROWS_PER_SESSION) ") r),"
							  " head AS MATERIALIZED (SELECT min(id) AS id, tenant, session_id FROM run GROUP BY tenant, session_id),"
							  " counted AS (UPDATE somamem.parked p SET attempts = p.attempts + 1, next_attempt_at = $3"
							  "  FROM head WHERE p.sink = $1 AND p.id = head.id RETURNING p.id)"
							  " SELECT run.id, run.id = head.id, run.attempts + 1, run.commit_at, tenant, session_id FROM run"
							  " JOIN head USING (tenant, session_id) ORDER BY tenant, session_id, run.id",
		3,
		{TEXTOID, INT4OID, TIMESTAMPTZOID}};
	Datum args[3] = {sink_datum(sink), Int32GetDatum(max_sessions), TimestampTzGetDatum(lease)};
	int	  n = (int) smem_query(&query, args, NULL, 0);

	*due = palloc(sizeof(SmemDue) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool	  isnull;

		(*due)[i].id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		(*due)[i].head = DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull));
		(*due)[i].attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 3, &isnull));
		(*due)[i].commit_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 4, &isnull));
		(*due)[i].tenant = SPI_getvalue(tuple, desc, 5);
		(*due)[i].session = SPI_getvalue(tuple, desc, 6);
	}
	return n;
}

void
smem_park_extend(SmemSink sink, const int64_t *ids, int n, TimestampTz lease)
{
	static SmemQuery query = {
		"UPDATE somamem.parked SET next_attempt_at = $3 WHERE sink = $1 AND id = ANY ($2)"
		" AND next_attempt_at <= pg_catalog.clock_timestamp()",
		3,
		{TEXTOID, INT8ARRAYOID, TIMESTAMPTZOID}};
	Datum args[3];

	if (n == 0)
		return;
	args[0] = sink_datum(sink);
	args[1] = id_array(ids, n);
	args[2] = TimestampTzGetDatum(lease);
	smem_query(&query, args, NULL, 0);
}

void
smem_park_return(SmemSink sink, const int64_t *ids, int n, TimestampTz due)
{
	static SmemQuery query = {
		"UPDATE somamem.parked SET attempts = attempts - 1, next_attempt_at = $3"
		" WHERE sink = $1 AND id = ANY ($2)",
		3,
		{TEXTOID, INT8ARRAYOID, TIMESTAMPTZOID}};
	Datum args[3];

	if (n == 0)
		return;
	args[0] = sink_datum(sink);
	args[1] = id_array(ids, n);
	args[2] = TimestampTzGetDatum(due);
	smem_query(&query, args, NULL, 0);
}

void
smem_park_hasten(SmemSink sink, int longest_ms)
{
	static SmemQuery query = {
		"UPDATE somamem.parked SET next_attempt_at = pg_catalog.clock_timestamp() + $2 * interval '1 millisecond'"
		" WHERE sink = $1 AND state <> 'delayed'"
		" AND next_attempt_at > pg_catalog.clock_timestamp() + $2 * interval '1 millisecond'",
		2,
		{TEXTOID, FLOAT8OID}};
	Datum args[2] = {sink_datum(sink), Float8GetDatum((double) longest_ms)};

	smem_query(&query, args, NULL, 0);
}

void
smem_park_count(SmemSink sink, int64_t *parked, int64_t *delayed, int64_t *dead)
{
	static SmemQuery query = {
		"SELECT (SELECT count(*) FROM somamem.parked WHERE sink = $1 AND state <> 'delayed'),"
		" (SELECT count(*) FROM somamem.parked WHERE sink = $1 AND state = 'delayed'),"
		" (SELECT count(*) FROM somamem.dead_letter WHERE sink = $1)",
		1,
		{TEXTOID}};
	Datum args[1] = {sink_datum(sink)};
	bool  isnull;

	smem_query(&query, args, NULL, 1);
	*parked =
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*delayed =
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	*dead = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
}

static TimestampTz
one_time(SmemQuery *query, SmemSink sink)
{
	Datum args[1] = {sink_datum(sink)};
	bool  isnull;
	Datum value;

	smem_query(query, args, NULL, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(value);
}

TimestampTz
smem_park_oldest(SmemSink sink)
{
	static SmemQuery query = {
		"SELECT min(commit_at) FROM somamem.parked WHERE sink = $1 AND state <> 'delayed'",
		1,
		{TEXTOID}};

	return one_time(&query, sink);
}

TimestampTz
smem_park_next(SmemSink sink)
{
	static SmemQuery query = {
		"SELECT min(next_attempt_at) FROM somamem.parked WHERE sink = $1 AND next_attempt_at IS NOT NULL",
		1,
		{TEXTOID}};

	return one_time(&query, sink);
}
