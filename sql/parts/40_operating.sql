/*
 * Operating: the levers by which an operator puts right what the workers
 * cannot decide.  docs/operations.md says when to pull which.
 *
 * redrive, discard, replay and erase stop the database's workers first and
 * keep them away to the end of the transaction: nothing is under way then,
 * and the tables alone say what becomes of a row.  A transaction that has
 * called one of them should end soon.
 *
 * They are not SECURITY DEFINER, and have the owner's rights all the same
 * (src/pg/definer.h): a caller who is bound to a tenant would go unseen.
 * Bound, redrive, discard, replay and erase find rows of that tenant alone;
 * another tenant as argument, pause, resume and retry are 42501.
 */

/*
 * Purpose: the one list of tables that hold what erase must remove.
 * Returns: the table, and what it holds: "rows" have a column tenant, and are
 *   deleted; where they have a column session_id too, erase of one session
 *   deletes no others, and where not, it leaves them; where they have a column
 *   id, that id is erased.  "receipts" are arrays parallel to owners, and emptied.
 */
CREATE FUNCTION somamem._tenant_tables(OUT relation text, OUT holds text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 5
AS $$
	VALUES
		('outbox', 'rows'),
		('parked', 'rows'),
		('dead_letter', 'rows'),
		('detour', 'rows'),
		('shipment', 'receipts')
$$;

COMMENT ON FUNCTION somamem._tenant_tables() IS 'the tables that hold tenants'' data, for erase';

/*
 * Purpose: whether a page of the shipment log has a row of an owner.
 * Returns: whether one of the owners is this one, as far as the mask goes.
 */
CREATE FUNCTION somamem._owns(owners bigint[], mask bigint, owner bigint)
RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'somamem_owns';

COMMENT ON FUNCTION somamem._owns(bigint[], bigint, bigint) IS 'whether a page of the shipment log has a row of an owner';

/*
 * Purpose: rows that are still in the outbox, and that the sink has.
 * Returns: their ids from from_id to to_id, with tenant and session, and
 *   whether the sink's position has still to pass them; of one tenant where it
 *   is named.
 * A position of another server, from before a restore, says nothing of
 * transactions: then the log alone counts.
 */
CREATE FUNCTION somamem._delivered(
	for_sink text,
	from_id bigint,
	to_id bigint,
	for_tenant text,
	OUT id bigint,
	OUT tenant text,
	OUT session_id text,
	OUT ahead boolean)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
AS $$
	SELECT o.id, o.tenant, o.session_id, o.id IN (SELECT a.id FROM somamem.ahead a WHERE a.sink = $1)
	FROM (SELECT s.* FROM somamem.shipment s WHERE s.sink = $1 ORDER BY s.id DESC LIMIT 1) AS n
	CROSS JOIN somamem.outbox o
	WHERE o.id BETWEEN $2 AND $3 AND ($4 IS NULL OR o.tenant = $4) AND o.xid <> '3'
		AND (o.id IN (SELECT a.id FROM somamem.ahead a WHERE a.sink = $1)
			OR CASE WHEN n.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)
				THEN pg_catalog.pg_visible_in_snapshot(o.xid, n.from_snapshot)
					OR o.xid >= n.from_next_xid AND o.id <= n.from_high
					OR coalesce(o.id <= n.after_id AND pg_catalog.pg_visible_in_snapshot(o.xid, n.to_snapshot), false)
				ELSE EXISTS (SELECT 1 FROM somamem.shipment l WHERE l.sink IS NOT DISTINCT FROM $1
					AND l.first_id IS NOT NULL AND pg_catalog.int8range(l.first_id, l.last_id, '[]') @> o.id
					AND o.id = ANY (l.ids))
				END
			AND NOT EXISTS (SELECT 1 FROM somamem.detour v WHERE v.sink = $1 AND v.tenant = o.tenant
				AND NOT (pg_catalog.pg_visible_in_snapshot(o.xid, v.from_snapshot)
					OR o.xid >= v.from_next_xid AND o.id <= v.from_high
					OR coalesce(o.id <= v.after_id AND pg_catalog.pg_visible_in_snapshot(o.xid, v.to_snapshot), false))
				AND (v.until_snapshot IS NULL OR pg_catalog.pg_visible_in_snapshot(o.xid, v.until_snapshot))))
		AND NOT EXISTS (SELECT 1 FROM somamem.parked p WHERE p.sink = $1 AND p.id = o.id)
		AND NOT EXISTS (SELECT 1 FROM somamem.dead_letter d WHERE d.sink = $1 AND d.id = o.id)
		AND NOT EXISTS (SELECT 1 FROM somamem.withdrawn w WHERE w.id = o.id AND w.sink IN ($1, '*'))
$$;

COMMENT ON FUNCTION somamem._delivered(text, bigint, bigint, text) IS 'rows of the outbox that a sink has';

/*
 * Purpose: lets nothing more out to a sink, until resume; also across
 *   restarts.  What is on the wire comes to its end.  Rows pile up in the
 *   outbox, as while the sink is away.
 * Returns: nothing; a sink that is paused stays so.
 * Raises: 22023 for an unknown sink, 22004 for NULL, 25006 in a read-only
 *   transaction, 55000 when the library is not preloaded.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.pause(sink text)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_pause';

COMMENT ON FUNCTION somamem.pause(text) IS 'stops sending to a sink, until resume';

/*
 * Purpose: ends a pause.
 * Returns: nothing; a sink that is not paused stays so.
 * Raises: as pause.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.resume(sink text)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_resume';

COMMENT ON FUNCTION somamem.resume(text) IS 'sends to a paused sink again';

/*
 * Purpose: tries now what waits for its next attempt, and a sink whose
 *   circuit is open.  Attempts stay counted.
 * Returns: how many rows were waiting; with an id, 0 unless that row was.
 *   What waits behind such a row is not counted: it follows by itself.
 * Raises: as pause.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.retry(sink text, id bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_retry';

COMMENT ON FUNCTION somamem.retry(text, bigint) IS 'tries what waits for its next attempt now';

/*
 * Purpose: puts dead letters back into the queue, by their ids among the rows
 *   that still wait, with all their attempts before them.
 * Returns: how many.  A notice says how many of them follow later rows of
 *   their sessions that the sink has already.
 * Raises: as pause, and 55006 when a worker cannot be stopped.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.redrive(sink text, tenant text DEFAULT NULL, id bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_redrive';

COMMENT ON FUNCTION somamem.redrive(text, text, bigint) IS 'puts dead letters back into the queue';

/*
 * Purpose: gives up a dead letter, or a row that waits in the parking place:
 *   the sink never gets it.
 * Returns: whether there was such a row.
 * Raises: as redrive, and 22004 for a NULL id.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.discard(sink text, id bigint)
RETURNS boolean
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_discard';

COMMENT ON FUNCTION somamem.discard(text, bigint) IS 'gives up a row that the sink refuses';

/*
 * Purpose: delivers again what the sink has already, of the rows that are
 *   still in the outbox, in their order.
 * Returns: how many.  A notice says how many the sink has that were left out,
 *   because rows before them are not settled yet.
 * Raises: as redrive, and 22004 for a NULL end of the range.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.replay(sink text, from_id bigint, to_id bigint, tenant text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_replay';

COMMENT ON FUNCTION somamem.replay(text, bigint, bigint, text) IS 'delivers rows again';

/*
 * Purpose: removes what the extension keeps of a tenant, or of one session of
 *   it: payloads, names, receipts, statistics.  What is undelivered is never
 *   sent.  The hashes of the keys stay until their window ends, so that a late
 *   retry does not bring the data back.
 * Returns: how many rows were erased.
 * Raises: as redrive, and 22004 for a NULL tenant.
 * Privilege: EXECUTE; none on the tables.
 */
CREATE FUNCTION somamem.erase(tenant text, session_id text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'somamem_erase';

COMMENT ON FUNCTION somamem.erase(text, text) IS 'removes everything that is kept of a tenant, or of one of its sessions';
