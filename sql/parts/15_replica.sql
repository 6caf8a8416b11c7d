/*
 * A server that gets these tables by logical replication.
 *
 * What a subscription brings is a copy: its publisher ships it, and this
 * server never does.  The copies are marked as they arrive, with the
 * transaction id 3, the first one there ever was and none that writes.  Ids of
 * copies and of this server's own rows may be equal.
 *
 * The triggers are ENABLE REPLICA, and look at the process besides: neither
 * memory_write nor a restore nor anybody's session_replication_role is
 * concerned.
 */

/*
 * Purpose: marks what a subscription inserts as a copy.
 * Returns: the row.
 */
CREATE FUNCTION somamem._mark_copy()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'somamem_mark_copy';

COMMENT ON FUNCTION somamem._mark_copy() IS 'marks a row that a subscription brings as a copy, which is never shipped';

/*
 * Purpose: what another server has delivered, parked or buried says nothing
 *   about this one, and must not touch a row of its own with the same id.
 * Returns: nothing where a subscription asks, the row otherwise.
 */
CREATE FUNCTION somamem._ignore_copy()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'somamem_ignore_copy';

COMMENT ON FUNCTION somamem._ignore_copy() IS 'leaves out what a subscription brings of another server''s bookkeeping';

/*
 * Purpose: keeps a publisher that empties a segment of its own from emptying
 *   this server's, which may hold what is not delivered.
 * Raises: 55006 while the segment has rows of this server.
 */
CREATE FUNCTION somamem._refuse_truncate()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'somamem_refuse_truncate';

COMMENT ON FUNCTION somamem._refuse_truncate() IS 'keeps a subscription from emptying a segment that has rows of this server';

CREATE TRIGGER copy BEFORE INSERT ON somamem.outbox FOR EACH ROW EXECUTE FUNCTION somamem._mark_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.shipment
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.parked
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.dead_letter
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.segment
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.detour
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.ahead
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
ALTER TABLE somamem.shipment ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.parked ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.dead_letter ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.segment ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.detour ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.ahead ENABLE REPLICA TRIGGER copy;

/*
 * A publisher that publishes deletes refuses them on a table without an
 * identity: the sweep of the ledger would fail there.
 */
ALTER TABLE somamem.idempotency REPLICA IDENTITY USING INDEX idempotency_key_hash;

DO $$
BEGIN
	FOR i IN 0 .. 7 LOOP
		EXECUTE format('CREATE TRIGGER truncated BEFORE TRUNCATE ON somamem.outbox_%s'
			' FOR EACH STATEMENT EXECUTE FUNCTION somamem._refuse_truncate()', i);
		EXECUTE format('ALTER TABLE somamem.outbox_%s ENABLE REPLICA TRIGGER truncated', i);
		EXECUTE format('ALTER TABLE somamem.outbox_%s ENABLE REPLICA TRIGGER copy', i);
		EXECUTE format('ALTER TABLE somamem.outbox_%s REPLICA IDENTITY FULL', i);
	END LOOP;
END
$$;
ALTER TABLE somamem.outbox ENABLE REPLICA TRIGGER copy;
