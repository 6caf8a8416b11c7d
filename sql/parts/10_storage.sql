/*
 * Storage.  docs/design.md says why it has this form; the rules in short:
 *
 * - A row of outbox is written once and never updated or deleted.  Segments
 *   are emptied whole, by TRUNCATE, when every sink has them behind it.
 * - Nothing is written per row while a sink is down.
 * - The newest row of shipment is a sink's position.
 *
 * Rows enter idempotency and outbox through memory_write alone, which does
 * not go through the executor: constraints that only the executor checks
 * would promise what nobody keeps, so there are none but NOT NULL as
 * documentation.
 */

/* One narrow row per write.  Outlives the payload, so that a late retry still finds its receipt. */
CREATE TABLE somamem.idempotency
(
	key_hash	uuid NOT NULL,
	payload_hash uuid NOT NULL,
	id			bigint NOT NULL,
	written_at	timestamptz NOT NULL
);
CREATE UNIQUE INDEX idempotency_key_hash ON somamem.idempotency (key_hash);

/* Without cache: ids must rise in the order in which they are handed out. */
CREATE SEQUENCE somamem.outbox_id_seq AS bigint CACHE 1;

CREATE TABLE somamem.outbox
(
	id			bigint NOT NULL,
	xid			xid8 NOT NULL,
	created_at	timestamptz NOT NULL,
	deliver_after timestamptz,
	segment		smallint NOT NULL,
	tenant		text NOT NULL,
	session_id	text NOT NULL,
	namespace	text NOT NULL,
	persona_id	text,
	idempotency_key text NOT NULL,
	traceparent	text,
	payload		jsonb NOT NULL
) PARTITION BY LIST (segment);

CREATE TABLE somamem.outbox_0 PARTITION OF somamem.outbox FOR VALUES IN (0);
CREATE TABLE somamem.outbox_1 PARTITION OF somamem.outbox FOR VALUES IN (1);
CREATE TABLE somamem.outbox_2 PARTITION OF somamem.outbox FOR VALUES IN (2);
CREATE TABLE somamem.outbox_3 PARTITION OF somamem.outbox FOR VALUES IN (3);
CREATE TABLE somamem.outbox_4 PARTITION OF somamem.outbox FOR VALUES IN (4);
CREATE TABLE somamem.outbox_5 PARTITION OF somamem.outbox FOR VALUES IN (5);
CREATE TABLE somamem.outbox_6 PARTITION OF somamem.outbox FOR VALUES IN (6);
CREATE TABLE somamem.outbox_7 PARTITION OF somamem.outbox FOR VALUES IN (7);

CREATE INDEX outbox_id ON somamem.outbox (id);
CREATE INDEX outbox_xid ON somamem.outbox (xid, id);

/* The ring: the current segment is the one opened last and not sealed. */
CREATE TABLE somamem.segment
(
	segment		smallint PRIMARY KEY,
	opened_at	timestamptz,
	sealed_at	timestamptz,
	delivered_at timestamptz
);
INSERT INTO somamem.segment (segment, opened_at)
	SELECT g, CASE WHEN g = 0 THEN pg_catalog.now() END FROM pg_catalog.generate_series(0, 7) AS g;

/*
 * One row per recorded page and sink.  A position is: everything visible in
 * from_snapshot, and of the step from there to to_snapshot the rows up to
 * after_id.  to_snapshot is NULL between two steps.  *_high is the value of
 * outbox_id_seq read before the snapshot was taken, *_next_xid the next
 * transaction id read after that.
 */
CREATE SEQUENCE somamem.shipment_id_seq AS bigint CACHE 1;

CREATE TABLE somamem.shipment
(
	sink		text NOT NULL,
	id			bigint NOT NULL DEFAULT pg_catalog.nextval('somamem.shipment_id_seq'),
	system_identifier bigint NOT NULL,
	from_snapshot pg_snapshot NOT NULL,
	from_high	bigint NOT NULL,
	from_next_xid xid8 NOT NULL,
	to_snapshot	pg_snapshot,
	to_high		bigint,
	to_next_xid	xid8,
	after_id	bigint NOT NULL DEFAULT 0,
	recorded_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	oldest_commit_at timestamptz,
	rows		integer NOT NULL DEFAULT 0,
	bytes		bigint NOT NULL DEFAULT 0,
	ids			bigint[],
	delivered_at timestamptz[],
	receipts	text,
	first_id	bigint,
	last_id		bigint,
	kafka_page	bigint,
	owners		bigint[],
	PRIMARY KEY (sink, id)
);
CREATE INDEX shipment_ids ON somamem.shipment USING gist (pg_catalog.int8range(first_id, last_id, '[]'))
	WHERE first_id IS NOT NULL;

/*
 * Positions of tenants that a sink's own position passes by: rows of the
 * tenant that are ahead of the detour's position, up to until_* where that is
 * set, are not settled although the sink's position has passed them.
 */
CREATE TABLE somamem.detour
(
	sink		text NOT NULL,
	number		bigint NOT NULL,
	tenant		text NOT NULL,
	system_identifier bigint NOT NULL,
	from_snapshot pg_snapshot NOT NULL,
	from_high	bigint NOT NULL,
	from_next_xid xid8 NOT NULL,
	to_snapshot	pg_snapshot,
	to_high		bigint,
	to_next_xid	xid8,
	after_id	bigint NOT NULL DEFAULT 0,
	until_snapshot pg_snapshot,
	until_high	bigint,
	until_next_xid xid8,
	PRIMARY KEY (sink, number)
);

/* Rows that a sink has although no position has passed them yet: known from Kafka after a crash. */
CREATE TABLE somamem.ahead
(
	sink		text NOT NULL,
	id			bigint NOT NULL,
	recorded_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (sink, id)
);

/* Rows that a sink's position has passed and that are not delivered: waiting for a retry, for their time, or behind one. */
CREATE TABLE somamem.parked
(
	sink		text NOT NULL,
	id			bigint NOT NULL,
	tenant		text NOT NULL,
	session_id	text NOT NULL,
	state		text NOT NULL,
	attempts	integer NOT NULL DEFAULT 0,
	next_attempt_at timestamptz,
	commit_at	timestamptz NOT NULL,
	parked_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	class		text,
	last_error	text,
	PRIMARY KEY (sink, id)
);
CREATE INDEX parked_session ON somamem.parked (sink, tenant, session_id, id);
CREATE INDEX parked_oldest ON somamem.parked (sink, commit_at) WHERE state <> 'delayed';
CREATE INDEX parked_due ON somamem.parked (sink, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE somamem.dead_letter
(
	sink		text NOT NULL,
	id			bigint NOT NULL,
	tenant		text NOT NULL,
	session_id	text NOT NULL,
	namespace	text NOT NULL,
	persona_id	text,
	idempotency_key text NOT NULL,
	traceparent	text,
	payload		jsonb NOT NULL,
	class		text NOT NULL,
	reason		text NOT NULL,
	attempts	integer NOT NULL,
	created_at	timestamptz NOT NULL,
	died_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	announced_at timestamptz,
	PRIMARY KEY (sink, id)
);
CREATE INDEX dead_letter_news ON somamem.dead_letter (died_at) WHERE announced_at IS NULL;

COMMENT ON TABLE somamem.idempotency IS 'receipts by key: one row per write, kept for at least somamem.idempotency_window';
COMMENT ON COLUMN somamem.idempotency.key_hash IS 'first 128 bits of SHA-256 over tenant and idempotency key';
COMMENT ON COLUMN somamem.idempotency.payload_hash IS 'first 128 bits of SHA-256 over tenant, session, namespace, persona and the payload';
COMMENT ON TABLE somamem.outbox IS 'every memory write, append only; a ring of segments that are emptied whole';
COMMENT ON COLUMN somamem.outbox.xid IS 'top-level transaction that wrote the row';
COMMENT ON COLUMN somamem.outbox.segment IS 'segment of the ring that holds the row';
COMMENT ON TABLE somamem.segment IS 'state of the ring of outbox segments; the current one is opened and not sealed';
COMMENT ON TABLE somamem.shipment IS 'log of recorded pages per sink, with receipts; a sink''s newest row is its position';
COMMENT ON TABLE somamem.detour IS 'positions of tenants whose backlog is shipped beside the stream of all others';
COMMENT ON COLUMN somamem.shipment.kafka_page IS 'number of the last Kafka transaction whose rows are recorded (somamem.kafka_exactly_once)';
COMMENT ON COLUMN somamem.shipment.owners IS 'parallel to ids: hash of the tenant (upper 32 bits), of tenant and session (lower 32 bits); 0 where erased';
COMMENT ON TABLE somamem.ahead IS 'rows that a sink has although no position has passed them yet';
COMMENT ON TABLE somamem.parked IS 'rows behind a sink''s position that are not delivered yet';
COMMENT ON COLUMN somamem.parked.state IS 'retry (failed by itself), behind (an earlier row of its session is parked), held (its tenant is throttled), sent (under way for long, while its stream goes on), delayed (deliver_after)';
COMMENT ON TABLE somamem.dead_letter IS 'rows that a sink refused for good, with payload and reason';
COMMENT ON COLUMN somamem.dead_letter.announced_at IS 'when Kafka''s dead-letter topic had it; null while it has not';

SELECT pg_catalog.pg_extension_config_dump('somamem.idempotency', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_0', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_1', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_2', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_3', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_4', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_5', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_6', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_7', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.shipment', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.detour', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.ahead', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.parked', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('somamem.shipment_id_seq', '');
