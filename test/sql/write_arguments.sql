-- Where tenant, session, namespace and persona come from, and arguments that do not fit.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;

CREATE FUNCTION pg_temp.turn(extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"type": "message", "role": "user", "content": "hello"}'::jsonb || extra $$;

-- The columns that a write with these arguments gets; or SQLSTATE and message.
CREATE FUNCTION pg_temp.write(payload jsonb, arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	v_id	bigint;
BEGIN
	EXECUTE format('SELECT id FROM somamem.memory_write(%L %s)', payload, arguments) INTO v_id;
	RETURN (SELECT format('%s | %s | %s | %s', tenant, session_id, namespace, persona_id)
			FROM somamem.outbox WHERE id = v_id);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;

-- from the payload: the top level before metadata
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'));
SELECT pg_temp.write(pg_temp.turn('{"metadata": {"tenant": "mt", "session_id": "ms", "namespace": "mn"}, "persona_id": "p"}'));
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "namespace": "ignored", "metadata": {"tenant": "t", "session_id": "ms", "namespace": "mn", "persona_id": "ignored"}}'));
SELECT pg_temp.write(pg_temp.turn('{"tenant": "", "session_id": null, "metadata": {"tenant": "mt", "session_id": "ms", "namespace": ""}}'));

-- from the arguments
SELECT pg_temp.write(pg_temp.turn(), ', ''at'', ''as'', namespace => ''an'', persona_id => ''ap''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "persona_id": "p", "metadata": {"namespace": "n"}}'), ', ''t'', ''s'', namespace => ''n'', persona_id => ''p''');
SELECT pg_temp.write(pg_temp.turn(), ', ''at''');
SELECT pg_temp.write(pg_temp.turn(), ', session_id => ''as''');

-- contradictions: the tenant's is a matter of rights
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', ''other''');
SELECT pg_temp.write(pg_temp.turn('{"metadata": {"tenant": "t", "session_id": "s"}}'), ', ''other''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "metadata": {"tenant": "other"}}'));
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "metadata": {"tenant": "other"}}'), ', ''t''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "metadata": {"tenant": "other"}}'), ', ''other''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', session_id => ''other''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "metadata": {"session_id": "s"}}'), ', session_id => ''other''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "metadata": {"namespace": "n"}}'), ', namespace => ''other''');
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s", "persona_id": "p"}'), ', persona_id => ''other''');
-- equal but for a space is a contradiction
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', ''t ''');

-- arguments have rules of their own
SELECT a AS argument, pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), format(', %s => ''''', a)) AS empty,
	pg_temp.write(pg_temp.turn(), format(', %s => repeat(''x'', 257)', a)) AS long,
	pg_temp.write(pg_temp.turn(), format(', %s => E''a\x1fb''', a)) AS control
FROM unnest(ARRAY['tenant', 'session_id', 'namespace', 'persona_id']) AS a;
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', idempotency_key => ''''') AS empty,
	pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', idempotency_key => repeat(''x'', 1024)') AS just,
	pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', idempotency_key => repeat(''x'', 1025)') AS more,
	pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', idempotency_key => repeat(''é'', 513)') AS bytes,
	pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', idempotency_key => E''a\nb''') AS control;

-- deliver_after is kept as given
SELECT id FROM somamem.memory_write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), deliver_after => '2001-02-03 04:05:06+00') \gset
SELECT deliver_after = '2001-02-03 04:05:06+00' AS kept FROM somamem.outbox WHERE id = :id;
SELECT pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), ', deliver_after => ''infinity''');

-- traceparent
SELECT t AS traceparent, pg_temp.write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'), format(', traceparent => %L', t))
FROM unnest(ARRAY[
	'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
	'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff',
	'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
	'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what.follows',
	'',
	'00',
	'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more',
	'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0',
	'00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01',
	'00-00000000000000000000000000000000-b7ad6b7169203331-01',
	'00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01',
	'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
	'00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01',
	'00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01',
	'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x',
	'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-',
	' 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
]) AS t;
SELECT id FROM somamem.memory_write(pg_temp.turn('{"tenant": "t", "session_id": "s"}'),
	traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01') \gset
SELECT traceparent FROM somamem.outbox WHERE id = :id;

-- the row is the payload as it came
BEGIN;
SELECT id, idempotency_key AS key FROM somamem.memory_write(pg_temp.turn('{"tenant": "t", "session_id": "s", "x": {"y": [1, 2.50, null]}}')) \gset
SELECT payload = pg_temp.turn('{"tenant": "t", "session_id": "s", "x": {"y": [1, 2.50, null]}}') AS equal, payload::text LIKE '%2.50%' AS to_the_letter,
	xid = pg_current_xact_id() AS own_xid, segment BETWEEN 0 AND 7 AS in_ring, created_at BETWEEN now() AND clock_timestamp() AS now,
	idempotency_key = :'key' AS same_key, deliver_after IS NULL AND traceparent IS NULL AND persona_id IS NULL AS nothing_else
FROM somamem.outbox WHERE id = :id;
COMMIT;
