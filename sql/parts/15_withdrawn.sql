/* What operators decided.  Storage as 10_storage.sql is, but these tables are small and ordinary. */

/* A sink that was never paused has no row. */
CREATE TABLE somamem.sink_state
(
	sink		text NOT NULL PRIMARY KEY,
	paused_at	timestamptz,
	paused_by	text
);

/* What operators took out of the queue.  Sink "*" stands for every sink. */
CREATE TABLE somamem.withdrawn
(
	id			bigint NOT NULL,
	sink		text NOT NULL,
	state		text NOT NULL,
	attempts	integer,
	withdrawn_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (id, sink)
);
CREATE INDEX withdrawn_at ON somamem.withdrawn (withdrawn_at);

COMMENT ON TABLE somamem.sink_state IS 'what operators decided for a sink as a whole';
COMMENT ON COLUMN somamem.sink_state.paused_at IS 'since when nothing is sent to it, null when it is';
COMMENT ON TABLE somamem.withdrawn IS 'rows that operators discarded or erased, kept as long as keys are; without anything of their content';
COMMENT ON COLUMN somamem.withdrawn.sink IS 'sink that does not get the row, or * for every sink';
COMMENT ON COLUMN somamem.withdrawn.state IS 'discarded or erased';

SELECT pg_catalog.pg_extension_config_dump('somamem.sink_state', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.withdrawn', '');

/* A publisher's operators decide nothing here (15_replica.sql). */
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.sink_state
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
CREATE TRIGGER copy BEFORE INSERT OR UPDATE OR DELETE ON somamem.withdrawn
	FOR EACH ROW EXECUTE FUNCTION somamem._ignore_copy();
ALTER TABLE somamem.sink_state ENABLE REPLICA TRIGGER copy;
ALTER TABLE somamem.withdrawn ENABLE REPLICA TRIGGER copy;
