#!/bin/bash
# What a memory_write costs beside a plain INSERT of the same row.
#
# The other side is a table with the columns of a write, a primary key and the
# unique key (tenant, idempotency_key).  Rounds of the two sides take turns,
# each side's figure is its median.  Needs a running server that has somamem
# preloaded, named by the usual PG* variables, and the right to create tables.
#
#   ROUNDS=5 SECONDS_EACH=5 CONNECTIONS="1 8 64" BATCH_CONNECTIONS="1 8" bench/write.sh
#
# KEEP_ROWS=1 leaves earlier rounds' rows in place: for a server whose workers
# are shipping.  Otherwise both sides start each round empty.
set -euo pipefail

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
connections=${CONNECTIONS:-1 8 64}
batch_connections=${BATCH_CONNECTIONS:-1 8}
batch_items=${BATCH_ITEMS:-500}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

payload='{"type": "message", "role": "user", "tenant": "acme", "session_id": "session-17", "persona_id": "persona-3", "content": "I went to the support group yesterday and it was so powerful; the stories that people told were inspiring.", "metadata": {"namespace": "wm", "channel": "web", "language": "en", "importance": 0.5}}'

sql()
{
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

sql <<SQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS somamem;
DROP TABLE IF EXISTS bench_plain, bench_batch;
CREATE TABLE bench_plain
(
	id			bigserial PRIMARY KEY,
	created_at	timestamptz NOT NULL DEFAULT clock_timestamp(),
	deliver_after timestamptz,
	tenant		text NOT NULL,
	session_id	text NOT NULL,
	namespace	text NOT NULL,
	persona_id	text,
	idempotency_key text NOT NULL,
	traceparent	text,
	payload		jsonb NOT NULL,
	UNIQUE (tenant, idempotency_key)
);
CREATE TABLE bench_batch (payloads jsonb);
INSERT INTO bench_batch
	SELECT jsonb_agg('$payload'::jsonb || jsonb_build_object('turn', g)) FROM generate_series(1, $batch_items) AS g;
SQL

cat >"$work/single_plain.sql" <<'SQL'
\set k random(1, 9000000000000000000)
INSERT INTO bench_plain (tenant, session_id, namespace, persona_id, idempotency_key, payload) VALUES ('acme', 'session-17', 'wm', 'persona-3', 'acme/wm/session-17/user/' || :k, :payload);
SQL
cat >"$work/single_somamem.sql" <<'SQL'
\set k random(1, 9000000000000000000)
SELECT * FROM somamem.memory_write(:payload, 'acme', 'session-17', 'acme/wm/session-17/user/' || :k);
SQL
cat >"$work/batch_plain.sql" <<'SQL'
INSERT INTO bench_plain (tenant, session_id, namespace, persona_id, idempotency_key, payload) SELECT e->>'tenant', e->>'session_id', coalesce(e#>>'{metadata,namespace}', 'wm'), e->>'persona_id', concat_ws('/', e->>'tenant', coalesce(e#>>'{metadata,namespace}', 'wm'), e->>'session_id', e->>'role', '', gen_random_uuid()), e FROM bench_batch, jsonb_array_elements(payloads) AS e;
SQL
cat >"$work/batch_somamem.sql" <<'SQL'
SELECT count(*) FROM bench_batch, somamem.memory_write_batch(payloads);
SQL

# Transactions a second of one round: case, side, connections.
round()
{
	local threads=2
	[ "$3" -lt 2 ] && threads=1
	if [ "${KEEP_ROWS:-0}" = 0 ]; then
		sql -c 'TRUNCATE bench_plain' -c 'TRUNCATE somamem.outbox' -c 'TRUNCATE somamem.idempotency' -c CHECKPOINT
	fi
	pgbench -n -M prepared -c "$3" -j "$threads" -T "$seconds" -D payload="$payload" \
		-f "$work/$1_$2.sql" 2>"$work/err" | sed -n 's/^tps = \([0-9]*\).*/\1/p'
	grep -v '^pgbench: ' "$work/err" >&2 || true
}

median()
{
	sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : int((v[NR / 2] + v[NR / 2 + 1]) / 2) }'
}

# A line of the table: case, name, connections.
compare()
{
	local i plain somamem
	: >"$work/plain"; : >"$work/somamem"
	for ((i = 0; i < rounds; i++)); do
		round "$1" plain "$3" >>"$work/plain"
		round "$1" somamem "$3" >>"$work/somamem"
	done
	plain=$(median <"$work/plain")
	somamem=$(median <"$work/somamem")
	awk -v n="$2" -v c="$3" -v p="$plain" -v s="$somamem" \
		'BEGIN { printf "%-24s %11d %12d %12d %6.2f\n", n, c, p, s, s / p }'
}

printf '%-24s %11s %12s %12s %6s\n' case connections plain_tps somamem_tps ratio
for c in $connections; do compare single memory_write "$c"; done
for c in $batch_connections; do compare batch "memory_write_batch($batch_items)" "$c"; done
sql -c 'DROP TABLE bench_plain, bench_batch'
