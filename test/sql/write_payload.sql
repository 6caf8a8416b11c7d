-- What a payload must be: each refusal has its SQLSTATE and names the field.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;

SELECT count(*) AS rows_before, (SELECT count(*) FROM somamem.idempotency) AS receipts_before FROM somamem.outbox \gset

-- A good payload with some of its members replaced, or taken away by null.
CREATE FUNCTION pg_temp.turn(extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"type": "message", "role": "user", "content": "hello", "tenant": "acme", "session_id": "s1"}'::jsonb || extra $$;

-- How a write ends: ok, or SQLSTATE and message.
CREATE FUNCTION pg_temp.outcome(payload jsonb) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM somamem.memory_write(payload);
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;

SELECT pg_temp.outcome(pg_temp.turn()) AS good;
SELECT pg_temp.outcome(NULL) AS null_payload;

-- no object at all
SELECT p AS payload, pg_temp.outcome(p) FROM unnest(ARRAY['null', '1', '"text"', 'true', '[]', '[{}]']::jsonb[]) AS p;

-- the three fields that every payload has
SELECT f AS field, pg_temp.outcome(pg_temp.turn() - f) AS missing,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, NULL))) AS "null"
FROM unnest(ARRAY['type', 'role', 'content']) AS f;
SELECT f AS field, v AS value, pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, v)))
FROM unnest(ARRAY['type', 'role', 'content']) AS f, unnest(ARRAY['""', '1', 'true', '[]', '{}', '["a"]', '" "']::jsonb[]) AS v;

-- tenant and session, from either place
SELECT f AS field, pg_temp.outcome(pg_temp.turn() - f) AS missing,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, ''))) AS empty,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, 5))) AS number,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, '{}'::jsonb))) AS object
FROM unnest(ARRAY['tenant', 'session_id']) AS f;
SELECT f AS field,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, 'x'))) - f) AS in_metadata,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, ''))) - f) AS empty,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, 5))) - f) AS number
FROM unnest(ARRAY['tenant', 'session_id']) AS f;

-- the optional ones
SELECT pg_temp.outcome(pg_temp.turn('{"persona_id": "p"}')) AS persona,
	pg_temp.outcome(pg_temp.turn('{"persona_id": 5}')) AS number,
	pg_temp.outcome(pg_temp.turn('{"persona_id": null}')) AS "null",
	pg_temp.outcome(pg_temp.turn('{"persona_id": ""}')) AS empty;
SELECT pg_temp.outcome(pg_temp.turn('{"metadata": {"namespace": "ltm"}}')) AS namespace,
	pg_temp.outcome(pg_temp.turn('{"metadata": {"namespace": 5}}')) AS number,
	pg_temp.outcome(pg_temp.turn('{"metadata": {"namespace": null}}')) AS "null",
	pg_temp.outcome(pg_temp.turn('{"metadata": {"namespace": ""}}')) AS empty;
SELECT m AS metadata, pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', m)))
FROM unnest(ARRAY['null', '{}', '[]', '""', '"text"', '5', 'false']::jsonb[]) AS m;
SELECT f AS field, v AS value, pg_temp.outcome(pg_temp.turn(jsonb_build_object('role', f, f, v)))
FROM unnest(ARRAY['id', 'message_id']) AS f, unnest(ARRAY['null', '""', '"m-1"', '17', '1.5', 'true', '[]', '{}']::jsonb[]) AS v;

-- 256 bytes, not characters, and spaces count
SELECT f AS field,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, repeat('x', 256)))) AS just,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, repeat('x', 257)))) AS more,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, repeat('é', 129)))) AS two_bytes_each,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, repeat(' ', 257)))) AS spaces
FROM unnest(ARRAY['tenant', 'session_id', 'persona_id', 'role']) AS f;
SELECT f AS field,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, repeat('x', 256)))) - f) AS just,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, repeat('x', 257)))) - f) AS more
FROM unnest(ARRAY['tenant', 'session_id', 'namespace']) AS f;

-- control characters: the first set, DEL, and the second set; no other
SELECT f AS field, c AS code, pg_temp.outcome(pg_temp.turn(jsonb_build_object(f, 'a' || chr(c) || 'b')))
FROM unnest(ARRAY['tenant', 'session_id', 'persona_id', 'role']) AS f,
	unnest(ARRAY[1, 10, 31, 32, 126, 127, 128, 159, 160, 233]) AS c;
SELECT f AS field, pg_temp.outcome(pg_temp.turn(jsonb_build_object('metadata', jsonb_build_object(f, E'a\tb'))) - f)
FROM unnest(ARRAY['tenant', 'session_id', 'namespace']) AS f;
SELECT pg_temp.outcome(pg_temp.turn(jsonb_build_object('content', E'a\tb\x01', 'type', E'x\n'))) AS content_may;

-- the size is that of the payload's text; the setting's unit is 1024 bytes
SHOW somamem.max_payload;
SELECT n - 921600 AS above, pg_temp.outcome(pg_temp.turn(jsonb_build_object('content', repeat('x', n - fixed)))) LIKE '54000: payload is too large' AS refused
FROM (SELECT length(pg_temp.turn('{"content": ""}')::text)) AS l (fixed), generate_series(921599, 921601) AS n;
-- bytes, not characters; escapes count as they are printed
SELECT pg_temp.outcome(pg_temp.turn(jsonb_build_object('content', repeat('é', 400000)))) AS bytes,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('content', repeat('é', 470000)))) AS more_bytes,
	pg_temp.outcome(pg_temp.turn(jsonb_build_object('content', repeat(E'\n', 470000)))) AS escapes;

-- each row has its receipt, and what was refused has neither
SELECT count(*) - :rows_before = (SELECT count(*) - :receipts_before FROM somamem.idempotency) AS as_many FROM somamem.outbox;
