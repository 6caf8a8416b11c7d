"""Draining a backlog beside a bare client that sends the same payloads to the same sink.

The backlog is committed while the sink is switched off.  The time is that
between the first acknowledgement and the last record of one in the shipment
log; CPU is the whole life of shipper and courier.
"""
import os
import re
import subprocess

from rig import BUILD, WORK, cpu_seconds, median

ROWS = 100000
LEAST = {"kafka": (50000, 0.2), "somabrain": (30000, 0.3)}
BARE = {"kafka": "bare librdkafka producer", "somabrain": "bare libcurl poster"}


def begin(rig, name, sink):
    """One delivered row: a backlog begins at a position, and topics and tables are known."""
    rig.sinks(sink)
    before = rig.delivered(name, sink)
    rig.fill(name, 1)
    rig.wait_delivered(name, sink, before + 1)
    rig.wait_idle(name)
    rig.sinks()
    rig.wait_workers(name)
    return int(rig.on(name).one("SELECT max(id) FROM somamem.shipment WHERE sink = '%s'" % sink))


def measure(rig, name, sink, mark):
    """Seconds from the first acknowledgement after a mark in the shipment log to the last record."""
    return float(rig.on(name).one(
        "SELECT extract(epoch FROM max(recorded_at) - min(delivered_at[1])) FROM somamem.shipment"
        " WHERE sink = '%s' AND id > %d AND rows > 0" % (sink, mark)))


def ship(rig, name, sink, rows):
    """Switches the sink on and waits: rows a second, and microseconds of CPU a row of (shipper, courier)."""
    already = rig.delivered(name, sink)
    mark = int(rig.on(name).one("SELECT coalesce(max(id), 0) FROM somamem.shipment WHERE sink = '%s'" % sink))
    rig.sinks(sink)
    rig.wait_delivered(name, sink, already + rows)
    pids = rig.wait_workers(name, sink)[sink]
    cpu = [cpu_seconds(pid) * 1e6 / rows for pid in pids]
    return rows / measure(rig, name, sink, mark), cpu, pids


def bare(rig, sink, payloads):
    """Rows a second and microseconds of CPU a row of the bare client."""
    if sink == "kafka":
        command = [BUILD / "producer", "-b", rig.brokers, "-n", str(ROWS)]
    else:
        command = [BUILD / "poster", "-u", rig.brain_url + "/memory/remember/batch", "-n", str(ROWS), "-t", "acme",
                   "-b", rig.on().one("SHOW somamem.somabrain_batch_items"),
                   "-c", rig.on().one("SHOW somamem.somabrain_concurrency")]
    out = subprocess.run(command + ["-f", payloads], capture_output=True, text=True, check=True).stdout
    found = re.search(r"rows_per_s (\S+) cpu_us_per_row (\S+)", out)
    return float(found.group(1)), float(found.group(2))


def write_payloads(rig, name):
    path = WORK / "payloads.jsonl"
    rows = rig.on(name).ask("SELECT e FROM bench_batch, jsonb_array_elements(payloads) AS e")
    path.write_text("".join("|".join(row) + "\n" for row in rows))
    return path


def one_round(rig, sink):
    with rig.database() as name:
        payloads = write_payloads(rig, name)
        alone = bare(rig, sink, payloads)
        begin(rig, name, sink)
        rows = rig.fill(name, ROWS)
        rate, cpu, _ = ship(rig, name, sink, rows)
        rig.sinks()
        rig.wait_workers(name)
    return rate, cpu, alone


def drain_one(rig, table, sink, rounds):
    played = [one_round(rig, sink) for _ in range(rounds)]
    rates = [rate for rate, _, _ in played]
    alone = [there[0] for _, _, there in played]
    what = "draining {:,} rows to {}".format(ROWS, sink)
    table.add("drain", what, median(rates), "rows/s", rates, least=LEAST[sink][0])
    table.add("drain", what + ", beside a " + BARE[sink], median(rates), "rows/s", rates, median(alone), alone,
              median([a / b for a, b in zip(rates, alone)]), least=LEAST[sink][1], of="ratio")
    sums = [sum(cpu) for _, cpu, _ in played]
    theirs = [there[1] for _, _, there in played]
    table.add("drain", what + ", CPU of shipper and courier", median(sums), "us/row", sums, median(theirs), theirs,
              most=25)
    for i, process in enumerate(("shipper", "courier")):
        each = [cpu[i] for _, cpu, _ in played]
        table.add("drain", what + ", of it the " + process, median(each), "us/row", each)


def drain(rig, table, rounds):
    for sink in os.environ.get("SINKS", "kafka somabrain").split():
        drain_one(rig, table, sink, rounds)
