-- The idempotency key of a write that brings none.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;

CREATE FUNCTION pg_temp.turn(extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"type": "message", "role": "user", "content": "hello", "tenant": "acme", "session_id": "s1"}'::jsonb || extra $$;

CREATE FUNCTION pg_temp.key(payload jsonb) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
	RETURN (SELECT idempotency_key FROM somamem.memory_write(payload));
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;

-- What the key must be, put together by other means.
CREATE FUNCTION pg_temp.expected(source text, stamp text DEFAULT '') RETURNS text LANGUAGE sql AS
$$ SELECT 'acme/wm/s1/user/' || stamp || '/' || left(encode(sha256(convert_to(source, 'UTF8')), 'hex'), 16) $$;

-- id, else message_id, else with a timestamp the payload's text
SELECT pg_temp.key(pg_temp.turn('{"id": "m-1"}')) = pg_temp.expected('m-1') AS id,
	pg_temp.key(pg_temp.turn('{"message_id": "m-2"}')) = pg_temp.expected('m-2') AS message_id,
	pg_temp.key(pg_temp.turn('{"id": "m-3", "message_id": "x"}')) = pg_temp.expected('m-3') AS both,
	pg_temp.key(pg_temp.turn('{"id": null, "message_id": "m-4"}')) = pg_temp.expected('m-4') AS null_id,
	pg_temp.key(pg_temp.turn('{"id": "", "message_id": "m-5"}')) = pg_temp.expected('m-5') AS empty_id,
	pg_temp.key(pg_temp.turn('{"id": " "}')) = pg_temp.expected(' ') AS a_space,
	pg_temp.key(pg_temp.turn('{"id": "mé/%"}')) = pg_temp.expected('mé/%') AS any_text,
	pg_temp.key(pg_temp.turn('{"id": 17}')) = pg_temp.expected('17') AS number,
	pg_temp.key(pg_temp.turn('{"id": 17.50}')) = pg_temp.expected('17.50') AS fraction,
	pg_temp.key(pg_temp.turn('{"id": 1e3}')) = pg_temp.expected('1000') AS exponent;
SELECT pg_temp.key(p) = pg_temp.expected(p::text, '2024-05-08T13:56:00Z') AS by_text,
	pg_temp.key(p || '{"id": "m-1"}') = pg_temp.expected('m-1', '2024-05-08T13:56:00Z') AS by_id
FROM pg_temp.turn('{"metadata": {"timestamp": "2024-05-08T13:56:00Z"}}') AS p;
-- one literal, so that a change of the form itself is seen
SELECT pg_temp.key(pg_temp.turn('{"id": "literal", "metadata": {"timestamp": 1715176560}}'));

-- none of the three: a new key each time, a UUID of version 7 in the hash's place
CREATE TEMPORARY TABLE repeated AS SELECT w.* FROM generate_series(1, 3) AS g, LATERAL somamem.memory_write(pg_temp.turn(jsonb_build_object('g', g * 0))) AS w;
SELECT count(DISTINCT id) AS ids, count(DISTINCT idempotency_key) AS keys, bool_or(deduplicated) AS deduplicated,
	bool_and(idempotency_key ~ '^acme/wm/s1/user//[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS form,
	bool_and(abs(extract(epoch FROM clock_timestamp()) * 1000 -
		('x' || lpad(replace(left(split_part(idempotency_key, '/', 6), 13), '-', ''), 16, '0'))::bit(64)::bigint) < 60000) AS now
FROM repeated;

-- in every part % and / are encoded, and nothing else
SELECT pg_temp.key('{"type": "t", "content": "c", "role": "r/%", "tenant": "a/b", "session_id": "100%/é ?#", "id": "i", "metadata": {"namespace": "%2F"}}');

-- a default key may be as long as it gets
SELECT length(pg_temp.key(jsonb_build_object('type', 't', 'content', 'c', 'role', repeat('/', 256), 'tenant', repeat('%', 256),
	'session_id', repeat('/', 256), 'id', 'long', 'metadata', jsonb_build_object('namespace', repeat('/', 256)))));

-- times: the forms that are one
CREATE FUNCTION pg_temp.stamp(timestamp_value jsonb) RETURNS text LANGUAGE sql AS
$$ SELECT CASE WHEN k LIKE 'acme/%' THEN split_part(k, '/', 5) ELSE k END
	FROM pg_temp.key(pg_temp.turn(jsonb_build_object('id', 'stamp ' || coalesce(timestamp_value::text, ''), 'metadata', jsonb_build_object('timestamp', timestamp_value)))) AS k $$;
SELECT t AS "timestamp", pg_temp.stamp(t) FROM unnest(ARRAY[
	'"2024-05-08T13:56:00Z"', '"2024-05-08T13:56:00"', '"2024-05-08T13:56"', '"2024-05-08T13:56:07.999999999Z"', '"2024-05-08T13:56:07,9"',
	'"2024-05-08T13:56:00+02:00"', '"2024-05-08T13:56:00-05:30"', '"2024-05-08T23:56:00-05"', '"2024-01-01T00:30:00+01:00"',
	'"2024-02-29T00:00:00Z"', '"2000-02-29T00:00:00Z"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"', '"1969-12-31T23:59:59.5Z"',
	'0', '1715176560', '1715176560.999', '-1', '-0.5', '1.7151765605e9', '253402300799', '253402300799.9', '-62135596800',
	'null', '""']::jsonb[]) AS t;
-- and those that are none
SELECT t AS "timestamp", pg_temp.stamp(t) FROM unnest(ARRAY[
	'"yesterday"', '"now"', '"infinity"', '"2024-05-08"', '"13:56:00"', '"2024-05-08 13:56:00"', '"2024-05-08t13:56:00z"', '"20240508T135600Z"', '"2024-05-08T13"',
	'"2023-02-29T00:00:00Z"', '"1900-02-29T00:00:00Z"', '"2024-02-30T00:00:00Z"', '"2024-04-31T00:00:00Z"', '"2024-13-01T00:00:00Z"', '"2024-00-01T00:00:00Z"', '"2024-01-00T00:00:00Z"',
	'"2024-05-08T24:00:00Z"', '"2024-05-08T23:59:60Z"', '"2024-05-08T13:60:00Z"', '"2024-05-08T13:56:00."', '"2024-05-08T13:56:00.Z"', '"2024-05-08T13:56.5Z"',
	'"2024-05-08T13:56:00 Z"', '" 2024-05-08T13:56:00Z"', '"2024-05-08T13:56:00Z "', '"2024-05-08T13:56:00+2:00"', '"2024-05-08T13:56:00-0530"', '"2024-05-08T13:56:00+24:00"', '"2024-05-08T13:56:00+02:60"', '"2024-05-08T13:56:00 Europe/Berlin"', '"2024-05-08T13:56:00UTC"',
	'"0000-01-01T00:00:00Z"', '"+2024-05-08T13:56:00Z"', '"12024-05-08T13:56:00Z"', '"0001-01-01T00:00:00+01:00"', '"9999-12-31T23:59:59-01:00"', '"1715176560"',
	'1715176560000', '253402300800', '-62135596801', '-62135596800.5', '1e40', '-1e40', 'true', '[]', '{}']::jsonb[]) AS t;
-- also where the caller brings a key, and so are a wrong id and message_id
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('{"metadata": {"timestamp": "yesterday"}}'), idempotency_key => 'mine');
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('{"id": true}'), idempotency_key => 'mine');
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('{"message_id": []}'), idempotency_key => 'mine');
SELECT count(*) FROM somamem.memory_write(pg_temp.turn('{"id": "good", "message_id": {}}'));

-- the key is the same whatever the session's settings are
CREATE TEMPORARY TABLE keys AS
	SELECT p, pg_temp.key(p) AS key FROM unnest(ARRAY[
		pg_temp.turn('{"metadata": {"timestamp": "2024-05-08T13:56:00", "n": 0.1}}'),
		pg_temp.turn('{"metadata": {"timestamp": 1715176560.5}}'),
		pg_temp.turn('{"id": 12345678901234567890.123456789}')]) AS p;
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'German, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = -15;
SET standard_conforming_strings = off;
SET bytea_output = 'escape';
SET lc_numeric = 'C';
SELECT count(*), bool_and(pg_temp.key(p) = key) AS same FROM keys;
RESET ALL;

-- a caller's key is taken as it is
SELECT idempotency_key FROM somamem.memory_write(pg_temp.turn('{"id": "x"}'), idempotency_key => ' Käse/%/ ');
