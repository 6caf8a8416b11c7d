-- A write is part of its caller's transaction, whatever that is made of.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;
\set VERBOSITY terse

CREATE FUNCTION pg_temp.turn(content text) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('type', 'message', 'role', 'user', 'tenant', 'acme', 'session_id', 'transaction', 'content', content) $$;

CREATE FUNCTION pg_temp.kept(pattern text) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(payload->>'content', ' ' ORDER BY id) FROM somamem.outbox WHERE session_id = 'transaction' AND payload->>'content' LIKE pattern $$;

-- rollback
BEGIN;
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('rollback 1'), idempotency_key => 'rollback');
ROLLBACK;
SELECT pg_temp.kept('rollback%');
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('rollback 2'), idempotency_key => 'rollback');
SELECT pg_temp.kept('rollback%');

-- savepoints, and a key that comes free again
BEGIN;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 1'), idempotency_key => 'sp1');
SAVEPOINT a;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 2'), idempotency_key => 'sp2');
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 1'), idempotency_key => 'sp1');
SAVEPOINT b;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 3'), idempotency_key => 'sp3');
RELEASE b;
ROLLBACK TO a;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 4'), idempotency_key => 'sp2');
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('savepoint 5'), idempotency_key => 'sp3');
COMMIT;
SELECT pg_temp.kept('savepoint%');
-- every row carries the top-level transaction, savepoints or not
SELECT count(DISTINCT xid) FROM somamem.outbox WHERE payload->>'content' LIKE 'savepoint%';

-- a block with an exception handler, and an error after the write
DO $$
BEGIN
	PERFORM somamem.memory_write(pg_temp.turn('handler 1'));
	BEGIN
		PERFORM somamem.memory_write(pg_temp.turn('handler 2'), idempotency_key => 'handler');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM somamem.memory_write(pg_temp.turn('handler 3'), idempotency_key => 'handler');
	END;
	BEGIN
		PERFORM somamem.memory_write(pg_temp.turn('handler 4'), idempotency_key => 'handler');
	EXCEPTION WHEN unique_violation THEN
		PERFORM somamem.memory_write(pg_temp.turn('handler 5'));
	END;
END
$$;
SELECT pg_temp.kept('handler%');
SELECT 1 / (id - id) FROM somamem.memory_write(pg_temp.turn('failed statement'));
SELECT pg_temp.kept('failed%');

-- many in one statement keep their order, and know each other
SELECT count(*), count(DISTINCT w.id) AS ids, count(*) FILTER (WHERE deduplicated) AS repeats
FROM generate_series(1, 6) AS g, LATERAL somamem.memory_write(pg_temp.turn('many ' || g % 3), idempotency_key => 'many ' || g % 3) AS w;
SELECT pg_temp.kept('many%');

-- a cursor writes as it is fetched
BEGIN;
DECLARE c CURSOR FOR SELECT w.deduplicated FROM generate_series(1, 5) AS g, LATERAL somamem.memory_write(pg_temp.turn('cursor ' || g)) AS w;
FETCH 2 FROM c;
SAVEPOINT a;
FETCH 1 FROM c;
ROLLBACK TO a;
FETCH 1 FROM c;
CLOSE c;
COMMIT;
SELECT pg_temp.kept('cursor%');
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT w.deduplicated FROM generate_series(1, 2) AS g, LATERAL somamem.memory_write(pg_temp.turn('held ' || g)) AS w;
COMMIT;
SELECT pg_temp.kept('held%');
CLOSE held;

-- a trigger writes; a rolled-back row takes its memory with it
CREATE TABLE note (body text);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM somamem.memory_write(jsonb_build_object('type', 'note', 'role', 'user', 'content', NEW.body), 'acme', 'transaction');
	RETURN NEW;
END
$$;
CREATE TRIGGER remember AFTER INSERT ON note FOR EACH ROW EXECUTE FUNCTION remember();
INSERT INTO note VALUES ('trigger 1'), ('trigger 2');
BEGIN;
INSERT INTO note VALUES ('trigger 3');
ROLLBACK;
COPY note FROM stdin;
trigger 4
\.
-- as a constraint trigger it runs inside COMMIT
CREATE CONSTRAINT TRIGGER remember_late AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION remember();
DROP TRIGGER remember ON note;
BEGIN;
INSERT INTO note VALUES ('trigger 5');
SELECT pg_temp.kept('trigger 5');
COMMIT;
SELECT pg_temp.kept('trigger%');
DROP TABLE note;
DROP FUNCTION remember;

-- procedures that commit in the middle
DO $$
BEGIN
	FOR i IN 1..3 LOOP
		PERFORM somamem.memory_write(pg_temp.turn('procedure ' || i));
		IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END
$$;
SELECT pg_temp.kept('procedure%');

-- two-phase commit
SELECT pg_temp.turn('prepared 1') AS p1, pg_temp.turn('prepared 2') AS p2 \gset
BEGIN;
SELECT deduplicated FROM somamem.memory_write(:'p1', idempotency_key => 'prepared 1');
PREPARE TRANSACTION 'write_transaction 1';
SELECT pg_temp.kept('prepared%');
COMMIT PREPARED 'write_transaction 1';
SELECT pg_temp.kept('prepared%');
BEGIN;
SELECT deduplicated FROM somamem.memory_write(:'p2', idempotency_key => 'prepared 2');
PREPARE TRANSACTION 'write_transaction 2';
-- the key is taken until the prepared transaction ends: a second writer waits for it
SET lock_timeout = '10ms';
SELECT deduplicated FROM somamem.memory_write(:'p2', idempotency_key => 'prepared 2');
\echo :SQLSTATE
RESET lock_timeout;
ROLLBACK PREPARED 'write_transaction 2';
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('prepared 3'), idempotency_key => 'prepared 2');
SELECT pg_temp.kept('prepared%');

-- read-only
BEGIN READ ONLY;
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('read-only'));
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM somamem.memory_write_batch(jsonb_build_array(pg_temp.turn('read-only')));
\echo :SQLSTATE
ROLLBACK;

-- a plan that may run in parallel does not with a write in it
SELECT set_config(name, 'on', false) AS parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(*) FROM generate_series(1, 3) AS g, LATERAL somamem.memory_write(pg_temp.turn('parallel ' || g));
SELECT set_config(name, 'off', false) AS parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT pg_temp.kept('parallel%');

-- stricter isolation
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('serializable'), idempotency_key => 'serializable');
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('serializable'), idempotency_key => 'serializable');
COMMIT;
SELECT pg_temp.kept('serializable%');

-- indexes that an administrator adds are kept too, those on expressions as well
CREATE INDEX outbox_role ON somamem.outbox ((payload->>'role'));
CREATE INDEX idempotency_id ON somamem.idempotency (id) WHERE id > 0;
SELECT w.id AS id FROM somamem.memory_write(jsonb_set(pg_temp.turn('indexed'), '{role}', '"indexed"')) AS w \gset
SET enable_seqscan = off;
SELECT payload->>'content' AS content FROM somamem.outbox WHERE payload->>'role' = 'indexed';
SELECT count(*) FROM somamem.idempotency WHERE id = :id AND id > 0;
RESET enable_seqscan;
DROP INDEX somamem.outbox_role, somamem.idempotency_id;

-- EXECUTE is all that a writer needs; PUBLIC does not have it
CREATE ROLE regress_write_transaction;
GRANT USAGE ON SCHEMA somamem TO regress_write_transaction;
SET ROLE regress_write_transaction;
SELECT count(*) FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's');
RESET ROLE;
GRANT EXECUTE ON FUNCTION somamem.memory_write TO regress_write_transaction;
SET ROLE regress_write_transaction;
SELECT count(*) FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's');
SELECT count(*) FROM somamem.outbox;
RESET ROLE;
DROP OWNED BY regress_write_transaction;
DROP ROLE regress_write_transaction;
