-- One key, one row: repeats get the first receipt, other content is refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;
\set VERBOSITY terse

CREATE FUNCTION pg_temp.turn(extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"type": "message", "role": "user", "content": "hello", "tenant": "acme", "session_id": "dedupe"}'::jsonb || extra $$;

-- What comes of a write with key k, after a first one of turn(): new, repeat, or an error that names the first id.
CREATE FUNCTION pg_temp.again(first bigint, payload jsonb, arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	v_receipt	somamem.write_receipt;
	v_detail	text;
BEGIN
	EXECUTE format('SELECT * FROM somamem.memory_write(%L, idempotency_key => ''k'' %s)', payload, arguments) INTO v_receipt;
	RETURN CASE WHEN v_receipt.deduplicated AND v_receipt.id = first THEN 'repeat'
		WHEN NOT v_receipt.deduplicated AND v_receipt.id > first THEN 'new' ELSE 'wrong' END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || CASE WHEN v_detail ~ ('\m' || first || '\M') THEN ' names the first' ELSE '' END;
END
$$;

SELECT id AS first FROM somamem.memory_write(pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}'), idempotency_key => 'k') \gset
SELECT count(*) AS before FROM somamem.outbox \gset

-- equal: the same jsonb, however it was written
SELECT pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}')) AS same,
	pg_temp.again(:first, '{"a":[0.0,100.00],"n":1.5,"persona_id":"p","session_id":"dedupe","tenant":"acme","content":"hello","role":"user","type":"message"}') AS equal_numbers,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}'), ', tenant => ''acme'', session_id => ''dedupe'', namespace => ''wm'', persona_id => ''p''') AS said_twice,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}'), ', deliver_after => ''2100-01-01'', traceparent => ''00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01''') AS other_delivery;

-- different: payload, session, namespace, persona
SELECT pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.51, "a": [0, 1e2]}')) AS number,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": "1.50", "a": [0, 1e2]}')) AS type,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [1e2, 0]}')) AS "order",
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2], "more": null}')) AS member,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}') - 'session_id', ', session_id => ''dedupe''') AS without_session,
	pg_temp.again(:first, pg_temp.turn('{"persona_id": "p", "n": 1.50, "a": [0, 1e2]}'), ', namespace => ''ltm''') AS namespace,
	pg_temp.again(:first, pg_temp.turn('{"n": 1.50, "a": [0, 1e2]}')) AS no_persona;
SELECT pg_temp.again(:first, pg_temp.turn('{"n": 1.50, "a": [0, 1e2], "session_id": "other"}')) AS session;

-- nothing of this was written
SELECT count(*) - :before AS written FROM somamem.outbox;

-- same payload, the identity from arguments: only they differ
SELECT id AS first FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's', 'args') \gset
SELECT deduplicated, id = :first AS same FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's', 'args');
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 'other', 'args');
\echo :SQLSTATE
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's', 'args', 'ltm');
\echo :SQLSTATE
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "c"}', 'acme', 's', 'args', persona_id => 'p');
\echo :SQLSTATE

-- a key is a tenant's own, and no pair of tenant and key is taken for another
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "other"}', 'acme2', 's', 'args');
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "other"}', 'acm', 's', 'eargs');
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "other"}', 'acmea', 's', 'rgs');
SELECT deduplicated FROM somamem.memory_write('{"type": "t", "role": "r", "content": "other"}', 'acme', 's', 'ARGS');

-- default keys: the same message again, and one that only looks like it
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"id": "again"}'));
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"id": "again"}'));
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"id": "again", "content": "edited"}'));
\echo :SQLSTATE
-- with a timestamp the text is the key's source: 1.0 and 1 are two keys
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"n": 1, "metadata": {"timestamp": 5}}'));
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"n": 1, "metadata": {"timestamp": 5}}'));
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"n": 1.0, "metadata": {"timestamp": 5}}'));
-- yes, and later yes again
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"content": "yes"}'));
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"content": "yes"}'));
-- a key that was given and one that was computed are the same thing
SELECT idempotency_key AS key FROM somamem.memory_write(pg_temp.turn('{"id": "computed"}')) \gset
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"id": "computed"}'), idempotency_key => :'key');

-- the ledger outlives the payload
SELECT id AS first FROM somamem.memory_write(pg_temp.turn('{"n": 1.0}'), idempotency_key => 'outlives') \gset
BEGIN;
TRUNCATE somamem.outbox;
SELECT deduplicated, id = :first AS same FROM somamem.memory_write(pg_temp.turn('{"n": 1}'), idempotency_key => 'outlives');
SAVEPOINT here;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"n": 2}'), idempotency_key => 'outlives');
\echo :SQLSTATE
ROLLBACK TO here;
SELECT count(*) FROM somamem.outbox;
ROLLBACK;
-- and when it forgets, the key is free
DELETE FROM somamem.idempotency WHERE id = :first;
SELECT deduplicated, id > :first AS later FROM somamem.memory_write(pg_temp.turn('{"n": 2}'), idempotency_key => 'outlives');

-- where repeats are about, one takes neither a transaction id nor an id
SELECT last_value AS before FROM somamem.outbox_id_seq \gset
BEGIN;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turn('{"n": 2}'), idempotency_key => 'outlives');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid, last_value - :before AS ids FROM somamem.outbox_id_seq;
COMMIT;
