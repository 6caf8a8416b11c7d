#include "postgres.h"

#include "outbox/lever.h"

#include "catalog/pg_type.h"
#include "outbox/ring.h"
#include "outbox/snapshot.h"
#include "pg/latest.h"
#include "utils/array.h"
#include "utils/builtins.h"

static Datum
sink_datum(SmemSink sink)
{
	return CStringGetTextDatum(smem_sink_name(sink));
}

void
smem_lever_pause(SmemSink sink, bool paused)
{
	Oid	  types[1] = {TEXTOID};
	Datum args[1] = {sink_datum(sink)};

	if (paused)
		smem_latest_query("INSERT INTO somamem.sink_state AS s (sink, paused_at, paused_by)"
						  " VALUES ($1, pg_catalog.clock_timestamp(), session_user)"
						  " ON CONFLICT (sink) DO UPDATE SET paused_at = excluded.paused_at,"
						  "  paused_by = excluded.paused_by WHERE s.paused_at IS NULL",
						  1, types, args, NULL);
	else
		smem_latest_query("UPDATE somamem.sink_state SET paused_at = NULL, paused_by = NULL"
						  " WHERE sink = $1 AND paused_at IS NOT NULL",
						  1, types, args, NULL);
}

/* A row that a worker is just recording is not waiting; and one that waited for the other would be a deadlock. */
int64
smem_lever_retry(SmemSink sink, const int64 *id)
{
	Oid	  types[2] = {TEXTOID, INT8OID};
	Datum args[2] = {sink_datum(sink), id != NULL ? Int64GetDatum(*id) : 0};

	return (int64) smem_latest_query(
		/* Arrays, so that no plan compares each parked row with each other one. */
		"WITH head AS MATERIALIZED (SELECT DISTINCT ON (f.tenant, f.session_id) f.id FROM somamem.parked f"
		"  WHERE f.sink = $1 AND f.state <> 'delayed' ORDER BY f.tenant, f.session_id, f.id),"
		" free AS MATERIALIZED (SELECT w.id FROM somamem.parked w WHERE w.sink = $1"
		"  AND w.id = ANY (ARRAY(SELECT h.id FROM head h WHERE $2 IS NULL OR h.id = $2))"
		"  FOR UPDATE SKIP LOCKED)"
		" UPDATE somamem.parked p SET next_attempt_at = pg_catalog.clock_timestamp()"
		" WHERE p.sink = $1 AND p.id = ANY (ARRAY(SELECT f.id FROM free f))",
		2, types, args, id != NULL ? "  " : " n");
}

/*
 * In each session of these rows the first one has its turn now, and every
 * other waits behind it, also one that had a time of its own before.
 */
static void
order_sessions(SmemSink sink, Datum ids)
{
	Oid	  types[2] = {TEXTOID, INT8ARRAYOID};
	Datum args[2] = {sink_datum(sink), ids};

	smem_latest_query(
		"UPDATE somamem.parked p SET next_attempt_at ="
		"  CASE WHEN p.id = s.head THEN pg_catalog.clock_timestamp() END"
		" FROM (SELECT t.tenant, t.session_id, (SELECT f.id FROM somamem.parked f WHERE f.sink = $1"
		"   AND f.tenant = t.tenant AND f.session_id = t.session_id AND f.state <> 'delayed'"
		"   ORDER BY f.id LIMIT 1) AS head"
		"  FROM (SELECT DISTINCT m.tenant, m.session_id FROM somamem.parked m"
		"   WHERE m.sink = $1 AND m.id = ANY ($2)) AS t) AS s"
		" WHERE p.sink = $1 AND p.tenant = s.tenant AND p.session_id = s.session_id"
		"  AND p.state <> 'delayed' AND (p.id = s.head) = (p.next_attempt_at IS NULL)",
		2, types, args, NULL);
}

/* How many of these rows stand before a row of their session that the sink has. */
static int64
count_late(SmemSink sink, Datum ids, text *tenant)
{
	Oid	  types[3] = {TEXTOID, INT8ARRAYOID, TEXTOID};
	Datum args[3] = {sink_datum(sink), ids, PointerGetDatum(tenant)};

	smem_latest_query(
		"WITH moved AS MATERIALIZED (SELECT p.id, p.tenant, p.session_id FROM somamem.parked p"
		"  WHERE p.sink = $1 AND p.id = ANY ($2)),"
		" first AS MATERIALIZED (SELECT m.tenant, m.session_id, pg_catalog.min(m.id) AS id FROM moved m"
		"  GROUP BY m.tenant, m.session_id),"
		" last AS MATERIALIZED (SELECT d.tenant, d.session_id, pg_catalog.max(d.id) AS id FROM first f"
		"  JOIN somamem._delivered($1, (SELECT pg_catalog.min(f.id) FROM first f), 9223372036854775807, $3)"
		"  AS d ON d.tenant = f.tenant AND d.session_id = f.session_id AND d.id > f.id"
		"  GROUP BY d.tenant, d.session_id)"
		" SELECT pg_catalog.count(*) FROM moved m JOIN last l ON l.tenant = m.tenant"
		"  AND l.session_id = m.session_id WHERE m.id < l.id",
		3, types, args, tenant != NULL ? "   " : "  n");
	return smem_latest_number(1);
}

/*
 * A row that is no longer in the outbox goes there again from the dead letter,
 * with a transaction id by which no sink takes it for news.
 */
void
smem_lever_redrive(SmemSink sink, text *tenant, const int64 *id, SmemRedriven *result)
{
	Oid	  types[4] = {TEXTOID, TEXTOID, INT8OID, INT2OID};
	Datum args[4] = {sink_datum(sink), PointerGetDatum(tenant), id != NULL ? Int64GetDatum(*id) : 0,
					 Int16GetDatum(smem_ring_current())};
	char  nulls[] = {' ', tenant != NULL ? ' ' : 'n', id != NULL ? ' ' : 'n', ' ', '\0'};
	Datum ids;
	bool  isnull;

	smem_latest_query(
		"WITH gone AS (DELETE FROM somamem.dead_letter d WHERE d.sink = $1 AND ($2 IS NULL OR d.tenant = $2)"
		"  AND ($3 IS NULL OR d.id = $3) RETURNING d.*),"
		" copied AS (INSERT INTO somamem.outbox (id, xid, created_at, segment, tenant, session_id, namespace,"
		"  persona_id, idempotency_key, traceparent, payload)"
		"  SELECT g.id, " SMEM_XID_PUT_BACK_SQL
		"::pg_catalog.xid8, g.created_at, $4, g.tenant, g.session_id, g.namespace,"
		"  g.persona_id, g.idempotency_key, g.traceparent, g.payload FROM gone g"
		"  WHERE NOT EXISTS (SELECT 1 FROM somamem.outbox o WHERE o.id = g.id"
		"   AND o.xid <> " SMEM_XID_COPY_SQL ") RETURNING id),"
		" parked AS (INSERT INTO somamem.parked (sink, id, tenant, session_id, state, commit_at, class,"
		"  last_error) SELECT $1, g.id, g.tenant, g.session_id, 'behind', pg_catalog.clock_timestamp(),"
		"  g.class, g.reason FROM gone g)"
		" SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM copied), pg_catalog.array_agg(g.id)"
		" FROM gone g",
		4, types, args, nulls);
	memset(result, 0, sizeof(*result));
	result->rows = smem_latest_number(1);
	result->unknown = smem_latest_number(2);
	if (result->rows == 0)
		return;
	ids = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull);
	order_sessions(sink, ids);
	result->late = count_late(sink, ids, tenant);
}

/*
 * A row that a stream has still to meet, and passes by because it is noted as
 * being ahead, cannot be in the parking place as well: whichever of the two
 * came first to the window would keep the other out of it.
 */
int64
smem_lever_replay(SmemSink sink, int64 from_id, int64 to_id, text *tenant, int64 *left_out)
{
	Oid	  types[4] = {TEXTOID, INT8OID, INT8OID, TEXTOID};
	Datum args[4] = {sink_datum(sink), Int64GetDatum(from_id), Int64GetDatum(to_id),
					 PointerGetDatum(tenant)};
	int64 rows;
	bool  isnull;

	smem_latest_query(
		"WITH found AS MATERIALIZED (SELECT d.* FROM somamem._delivered($1, $2, $3, $4) AS d),"
		" parked AS (INSERT INTO somamem.parked (sink, id, tenant, session_id, state, commit_at)"
		"  SELECT $1, d.id, d.tenant, d.session_id, 'behind', pg_catalog.clock_timestamp()"
		"  FROM found d WHERE NOT d.ahead RETURNING id)"
		" SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM found d WHERE d.ahead),"
		"  pg_catalog.array_agg(p.id) FROM parked p",
		4, types, args, tenant != NULL ? "    " : "   n");
	rows = smem_latest_number(1);
	*left_out = smem_latest_number(2);
	if (rows > 0)
		order_sessions(sink,
					   SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	return rows;
}

/* The session of a row that has left the parking place moves up. */
static void
promote(SmemSink sink, Datum tenant, Datum session)
{
	Oid	  types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum args[3] = {sink_datum(sink), tenant, session};

	smem_latest_query(
		"UPDATE somamem.parked p SET next_attempt_at = pg_catalog.clock_timestamp()"
		" FROM (SELECT f.id FROM somamem.parked f WHERE f.sink = $1 AND f.tenant = $2"
		"  AND f.session_id = $3 AND f.state <> 'delayed' ORDER BY f.id LIMIT 1) AS head"
		" WHERE p.sink = $1 AND p.id = head.id AND p.next_attempt_at IS NULL",
		3, types, args, NULL);
}

bool
smem_lever_discard(SmemSink sink, int64 id, SmemStr tenant)
{
	Oid	   types[3] = {TEXTOID, INT8OID, TEXTOID};
	Datum  args[3] = {sink_datum(sink), Int64GetDatum(id), 0};
	bool   any = !smem_str_present(tenant);
	uint64 found;
	bool   isnull;

	if (!any)
		args[2] = PointerGetDatum(cstring_to_text_with_len(tenant.data, tenant.len));
	found = smem_latest_query(
		"WITH dead AS (DELETE FROM somamem.dead_letter d WHERE d.sink = $1 AND d.id = $2"
		"  AND ($3 IS NULL OR d.tenant = $3) RETURNING d.*),"
		" parked AS (DELETE FROM somamem.parked p WHERE p.sink = $1 AND p.id = $2"
		"  AND ($3 IS NULL OR p.tenant = $3) RETURNING p.*),"
		" gone AS (SELECT d.tenant, d.session_id, d.attempts FROM dead d"
		"  UNION ALL SELECT p.tenant, p.session_id, p.attempts FROM parked p),"
		" noted AS (INSERT INTO somamem.withdrawn (id, sink, state, attempts)"
		"  SELECT $2, $1, 'discarded', g.attempts FROM gone g)"
		" SELECT g.tenant, g.session_id FROM gone g",
		3, types, args, any ? "  n" : NULL);
	if (found > 0)
		promote(sink, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
				SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return found > 0;
}
