"""Whether the backlog's size, or somebody's long transaction, changes anything.

For each size: rows are written while the sinks are off, health() is timed
while a sink owes them, then one sink drains them and after it the other.  With
the other transaction, a session has had a snapshot and a transaction id since
before the first row.  Memory is looked at when a sink is drained.
"""
import os
import time

from part_drain import begin, ship
from rig import SINKS, WORK, cpu_seconds, median, memory_mib

CALLS = 200
IDLE_SECONDS = 20
NOBODY = "127.0.0.1:1"
SMALL = 10000


def health_ms(rig, name):
    """Milliseconds of each of CALLS calls, as a client sees them."""
    for old in WORK.glob("health_log*"):
        old.unlink()
    rig.pgbench(name, rig.script("health", "SELECT somamem.health();\n"), "-t", CALLS, "-l",
                "--log-prefix", WORK / "health_log")
    log = next(WORK.glob("health_log*"))
    return [int(line.split()[2]) / 1000 for line in log.read_text().splitlines()]


def time_health(rig, name, rows):
    """health() while Kafka is away and owes the rows."""
    rig.set(somamem__kafka_brokers=NOBODY)
    rig.wait_workers(name, "kafka")
    time.sleep(1)
    pending = int(rig.on(name).one("SELECT pending FROM somamem.outbox_status WHERE sink = 'kafka'"))
    if not rows / 2 <= pending <= rows * 2:
        raise RuntimeError("%d rows pending, %d written" % (pending, rows))
    took = health_ms(rig, name)
    rig.sinks()
    rig.wait_workers(name)
    return took


def drain_both(rig, name, rows, found):
    for sink in SINKS[::-1]:
        rate, _, pids = ship(rig, name, sink, rows)
        found.setdefault("rate " + sink, []).append(rate)
        for process, pid in zip(("shipper", "courier"), pids):
            found.setdefault("memory %s %s" % (sink, process), []).append(memory_mib(pid))
        rig.sinks()
        rig.wait_workers(name)


def idle_share(rig, name):
    """Per cent of a core that everything of somamem uses while nothing happens."""
    rig.sinks(*SINKS)
    pids = [pid for pair in rig.wait_workers(name, *SINKS).values() for pid in pair]
    pids += [int(pid) for pid, in rig.on(name).ask("SELECT pid FROM somamem.workers WHERE database IS NULL")]
    rig.wait_idle(name)
    time.sleep(3)
    before = sum(map(cpu_seconds, pids))
    time.sleep(IDLE_SECONDS)
    used = sum(map(cpu_seconds, pids)) - before
    rig.sinks()
    rig.wait_workers(name)
    return used / IDLE_SECONDS * 100


def one_round(rig, rows, held, found):
    with rig.database() as name:
        for sink in SINKS:
            begin(rig, name, sink)
        if held:
            rig.on(name).ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
            rig.on(name).ask("SELECT txid_current()")
            rig.sessions["holder"] = rig.sessions.pop(name)
        written = rig.fill(name, rows)
        found.setdefault("health", []).extend(time_health(rig, name, written))
        drain_both(rig, name, written, found)
        if held:
            rig.sessions["holder"].ask("COMMIT")
            rig.sessions.pop("holder").close()
        elif rows > SMALL:
            found["idle"] = idle_share(rig, name)


def add_rates(table, what, found, beside):
    for sink in SINKS[::-1]:
        rates = found["rate " + sink]
        small = beside["rate " + sink] if beside is not found else ()
        table.add("backlog", "drain to %s, %s%s" % (sink, what, ", beside {:,} alone".format(SMALL) if small else ""),
                  median(rates), "rows/s", rates, median(small) if small else None, small,
                  least=0.9 if small else None, of="ratio")


def add_health(table, what, found):
    took = found["health"]
    table.add("backlog", "health(), %s, median of %d calls" % (what, len(took)), median(took), "ms", most=5)
    table.add("backlog", "health(), %s, slowest" % what, max(took), "ms", most=5)


def most_of(found, process, figure):
    return max(seen[figure] for sink in SINKS for one in found for seen in one["memory %s %s" % (sink, process)])


def add_memory(table, what, found):
    """Pages of the server's shared memory are the server's, whoever touches them."""
    table.add("backlog", "memory of a shipper, its own, %s" % what, most_of(found, "shipper", "RssAnon"), "MiB", most=64)
    table.add("backlog", "shared buffers that it has touched, %s" % what, most_of(found, "shipper", "RssShmem"), "MiB")
    table.add("backlog", "memory of a courier, peak, %s" % what, most_of(found, "courier", "VmHWM"), "MiB", most=64)


def backlog(rig, table, rounds):
    sizes = [SMALL, 1000000] + ([10000000] if os.environ.get("BIG") else [])
    found = {(rows, held): {} for rows in sizes for held in (False, True)}
    # The small ones around the large ones, so that neither has the better part of the run.
    for rows in sizes[1:]:
        for held in (False, True):
            for _ in range(rounds):
                for also in (False, True):
                    one_round(rig, SMALL, also, found[SMALL, also])
            one_round(rig, rows, held, found[rows, held])
            rig.restart_brain()
    for rows in sizes:
        for held in (False, True):
            what = "{:,} rows, {}".format(rows, "with a long transaction" if held else "alone")
            add_rates(table, what, found[rows, held], found[SMALL, False])
            add_health(table, what, found[rows, held])
        add_memory(table, "{:,} rows".format(rows), [found[rows, False], found[rows, True]])
        if rows > SMALL:
            table.add("backlog", "idle, all workers, {:,} rows kept".format(rows), found[rows, False]["idle"],
                      "% of a core", most=0.5)
