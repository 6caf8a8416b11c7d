-- memory_write_batch: an array of writes, all or none.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;

-- An array of n good payloads; the element at place gets more members, or loses one where its value is null.
CREATE FUNCTION pg_temp.turns(n int, place int DEFAULT 0, extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('type', 'message', 'role', 'user', 'tenant', 'acme', 'session_id', 'batch',
		'content', 'turn ' || g) || CASE WHEN g = place THEN extra ELSE '{}' END) ORDER BY g)
	FROM generate_series(1, n) AS g
$$;

CREATE FUNCTION pg_temp.outcome(payloads jsonb, arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	v_rows	bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM somamem.memory_write_batch(%L %s)', payloads, arguments) INTO v_rows;
	RETURN v_rows || ' rows';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;

-- a row per element, in order, from 1; ids rise with them
SELECT array_agg(ordinal ORDER BY n) AS ordinals, bool_and(later) AS ids_rise, bool_or(deduplicated) AS deduplicated
FROM (SELECT *, row_number() OVER () AS n, id > coalesce(lag(id) OVER (), 0) AS later FROM somamem.memory_write_batch(pg_temp.turns(5))) AS w;
CREATE TEMPORARY TABLE receipt AS SELECT * FROM somamem.memory_write_batch(pg_temp.turns(3));
SELECT string_agg(o.payload->>'content', ', ' ORDER BY w.ordinal) AS stored, bool_and(o.idempotency_key = w.idempotency_key) AS same_keys,
	count(DISTINCT o.xid) AS transactions, bool_and(o.payload = pg_temp.turns(3)->(w.ordinal - 1)) AS same_payloads
FROM receipt AS w JOIN somamem.outbox AS o USING (id);

-- what is no array, and limits
SELECT p AS payloads, pg_temp.outcome(p) FROM unnest(ARRAY[NULL, 'null', '{}', '"text"', '5', '[]', '[null]', '[5]', '[[]]', '["text"]']::jsonb[]) AS p;
SHOW somamem.batch_max_items;
SELECT pg_temp.outcome(pg_temp.turns(500)) AS just, pg_temp.outcome(pg_temp.turns(501)) AS more;
-- too many is said before anything is looked at
SELECT pg_temp.outcome((SELECT jsonb_agg(NULL::text) FROM generate_series(1, 501)));

-- an empty array takes no transaction id
BEGIN;
SELECT count(*) FROM somamem.memory_write_batch('[]');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
COMMIT;

-- the message names the element and its field
SELECT pg_temp.outcome(pg_temp.turns(3, 2, '{"content": null}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 3, '{"role": ""}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 1, '{"metadata": []}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 2, '{"tenant": null}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 2, '{"id": true}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 2, '{"metadata": {"timestamp": "noon"}}'));
SELECT pg_temp.outcome(pg_temp.turns(3, 2, '{"metadata": {"tenant": "other"}}'));
SELECT pg_temp.outcome(jsonb_set(pg_temp.turns(3), '{1}', '"text"'));
SELECT pg_temp.outcome(pg_temp.turns(3, 2, jsonb_build_object('content', repeat('x', 921600))));

-- arguments hold for all
SELECT pg_temp.outcome(pg_temp.turns(2), ', ''acme'', ''batch'', ''wm''') AS agree,
	pg_temp.outcome(pg_temp.turns(2), ', ''other''') AS tenant,
	pg_temp.outcome(pg_temp.turns(2), ', session_id => ''other''') AS session,
	pg_temp.outcome(pg_temp.turns(2, 2, '{"metadata": {"namespace": "n"}}'), ', namespace => ''wm''') AS namespace,
	pg_temp.outcome(pg_temp.turns(2), ', tenant => ''''') AS empty;
SELECT array_agg(id) AS ids FROM somamem.memory_write_batch('[{"type": "t", "role": "r", "content": "c", "persona_id": "p"}, {"type": "t", "role": "r", "content": "d"}]', 'ta', 'sa', 'na') \gset
SELECT tenant, session_id, namespace, persona_id FROM somamem.outbox WHERE id = ANY (:'ids') ORDER BY id;

-- repeats inside the batch and of earlier writes
SELECT id AS first FROM somamem.memory_write(pg_temp.turns(1, 1, '{"id": "earlier"}')->0) \gset
SELECT ordinal, deduplicated, id = :first AS earlier, id = first_value(id) OVER (PARTITION BY idempotency_key ORDER BY ordinal) AS the_first
FROM somamem.memory_write_batch(pg_temp.turns(1, 1, '{"id": "twice", "n": 1}') || pg_temp.turns(1, 1, '{"id": "earlier"}') || pg_temp.turns(1, 1, '{"id": "twice", "n": 1.0}') || pg_temp.turns(1))
ORDER BY ordinal;
SELECT count(*) FROM somamem.outbox WHERE payload->>'id' = 'twice';
SELECT bool_and(deduplicated) AS all_repeats FROM somamem.memory_write_batch(pg_temp.turns(1, 1, '{"id": "twice", "n": 1}') || pg_temp.turns(1, 1, '{"id": "earlier"}'));

-- other content under a key refuses the whole batch
SELECT count(*) AS before FROM somamem.outbox \gset
SELECT pg_temp.outcome(pg_temp.turns(2) || pg_temp.turns(1, 1, '{"id": "earlier", "content": "edited"}'));
SELECT pg_temp.outcome(pg_temp.turns(2) || pg_temp.turns(1, 1, '{"id": "new"}') || pg_temp.turns(1, 1, '{"id": "new", "content": "edited"}'));
SELECT count(*) - :before AS written FROM somamem.outbox;
SELECT deduplicated FROM somamem.memory_write(pg_temp.turns(1, 1, '{"id": "new"}')->0);

-- large elements: several insertions, one order
TRUNCATE receipt;
INSERT INTO receipt SELECT * FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 't', 'role', 'r', 'content', repeat(md5(g::text), 10000), 'turn', g) ORDER BY g)
	FROM generate_series(1, 12) AS g), 'acme', 'large');
SELECT count(*), count(DISTINCT o.id) AS stored, sum(octet_length(o.payload->>'content')) AS bytes,
	bool_and((o.payload->>'turn')::int = w.ordinal) AS in_order
FROM receipt AS w JOIN somamem.outbox AS o USING (id);

-- rolled back as a whole
BEGIN;
SELECT count(*) FROM somamem.memory_write_batch(pg_temp.turns(3, 1, '{"id": "rolled back"}'));
ROLLBACK;
SELECT deduplicated FROM somamem.memory_write_batch(pg_temp.turns(1, 1, '{"id": "rolled back"}'));

-- equal batches of one statement are deliberate repeats: the planner makes each call
CREATE TEMPORARY TABLE queued AS SELECT pg_temp.turns(1) AS payloads, pg_temp.turns(1)->0 AS payload FROM generate_series(1, 100);
ANALYZE queued;
SELECT count(w.id), count(DISTINCT w.id) FROM queued AS q, somamem.memory_write_batch(q.payloads) AS w;
SELECT count(w.id), count(DISTINCT w.id) FROM queued AS q, somamem.memory_write(q.payload) AS w;
