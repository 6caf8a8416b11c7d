"""memory_write beside a plain INSERT of the same row, memory_write_batch beside INSERT ... SELECT.

The other side is a table with the columns of a write, a primary key and the
unique key (tenant, idempotency_key).  Both sides start each round empty, and
after a checkpoint; autovacuum is off meanwhile, so that it cannot hit one
side's round and not the other's.  With the sinks on, the plain side has the
machine to itself: workers, sinks and all that they do count against somamem.
"""
import json
import re

from rig import BATCH, PAYLOAD, median

SECONDS = 4
PLAIN_TABLE = """
CREATE TABLE bench_plain
(
    id bigserial PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deliver_after timestamptz,
    tenant text NOT NULL,
    session_id text NOT NULL,
    namespace text NOT NULL,
    persona_id text,
    idempotency_key text NOT NULL,
    traceparent text,
    payload jsonb NOT NULL,
    UNIQUE (tenant, idempotency_key)
)"""
KEY = "'acme/wm/session-17/user/' || :k"
SCRIPTS = {
    "single_plain": "\\set k random(1, 9000000000000000000)\n"
    "INSERT INTO bench_plain (tenant, session_id, namespace, persona_id, idempotency_key, payload)"
    " VALUES ('acme', 'session-17', 'wm', 'persona-3', " + KEY + ", :payload);\n",
    "single_somamem": "\\set k random(1, 9000000000000000000)\n"
    "SELECT * FROM somamem.memory_write(:payload, 'acme', 'session-17', " + KEY + ");\n",
    "batch_plain": "INSERT INTO bench_plain (tenant, session_id, namespace, persona_id, idempotency_key, payload)"
    " SELECT e->>'tenant', e->>'session_id', coalesce(e#>>'{metadata,namespace}', 'wm'), e->>'persona_id',"
    " concat_ws('/', e->>'tenant', coalesce(e#>>'{metadata,namespace}', 'wm'), e->>'session_id', e->>'role', '',"
    " gen_random_uuid()), e FROM bench_batch, jsonb_array_elements(payloads) AS e WHERE n = 0;\n",
    "batch_somamem": "SELECT count(*) FROM bench_batch, somamem.memory_write_batch(payloads) WHERE n = 0;\n",
}


def play(rig, name, kind, side, connections):
    """Transactions a second of one round."""
    db = rig.on(name)
    rig.wait_idle(name)
    for table in ("bench_plain", "somamem.outbox", "somamem.idempotency"):
        db.ask("TRUNCATE " + table)
    db.ask("CHECKPOINT")
    out = rig.pgbench(name, rig.script(kind + side, SCRIPTS[kind + "_" + side]), "-c", connections,
                      "-j", min(connections, 2), "-T", SECONDS, "-D", "payload=" + json.dumps(PAYLOAD))
    return float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))


def compare(rig, name, kind, connections, rows, rounds):
    plain, somamem = [], []
    for _ in range(rounds):
        plain.append(rows * play(rig, name, kind, "plain", connections))
        somamem.append(rows * play(rig, name, kind, "somamem", connections))
    return somamem, plain


def add(table, what, sides, least):
    somamem, plain = sides
    table.add("write", what, median(somamem), "rows/s", somamem, median(plain), plain,
              median([a / b for a, b in zip(somamem, plain)]), least=least, of="ratio")


def write(rig, table, rounds):
    rig.set(autovacuum="off")
    with rig.database() as name:
        rig.on(name).ask(PLAIN_TABLE)
        for sinks in ((), ("somabrain", "kafka")):
            rig.sinks(*sinks)
            rig.wait_workers(name, *sinks)
            state = "both sinks shipping" if sinks else "sinks off"
            for connections in (1, 8, 64):
                add(table, "memory_write, %d connection%s, %s" % (connections, "s" if connections > 1 else "", state),
                    compare(rig, name, "single", connections, 1, rounds), 0.75)
            add(table, "memory_write_batch(%d), 1 connection, %s" % (BATCH, state),
                compare(rig, name, "batch", 1, BATCH, rounds), None if sinks else 0.6)
        rig.wait_idle(name)
        rig.sinks()
    rig.set(autovacuum="on")
