"""How long others wait while one tenant has a backlog.

Tenant "acme" writes 100,000 rows at once; while they drain, other tenants write
single rows, one after the other.  Beside their delivery stands the time that
one page of acme's rows takes.  SomaBrain takes its time for every answer.

Then a load by Zipf's law that is more than SomaBrain takes: what the tenants
with few rows wait, beside those with many.
"""
import json
import subprocess
import time

from part_latency import acknowledged
from rig import BATCH, PAYLOAD, SINKS, STANDIN, WORK, median, percentile

ROWS = 100000
PAGE = 2048
OTHERS = 50
DELAY_MS = 50
BETWEEN_S = {"somabrain": 0.05, "kafka": 0.005}
TENANTS = 200
ZIPF = 1.1
ZIPF_RATE = 1500
ZIPF_SECONDS = 12
ZIPF_DELAY_MS = 80
LARGE = 5
SMALL = 50


def write_backlog(rig, name):
    """Commits acme's rows in one transaction."""
    # The function has to depend on g, or it is called for each batch once.
    written = rig.on(name).one(
        "SELECT count(*) FROM generate_series(1, %d) AS g, bench_batch,"
        " somamem.memory_write_batch(CASE WHEN g > 0 THEN payloads END)" % (ROWS // BATCH // 4))
    if int(written) != ROWS:
        raise RuntimeError("%s rows written instead of %d" % (written, ROWS))


def write_single(rig, name, tenant):
    """Id, and microseconds when the commit returned."""
    payload = json.dumps(dict(PAYLOAD, tenant=tenant)).replace("'", "''")
    row = rig.on(name).one("SELECT id FROM somamem.memory_write('%s')" % payload)
    return int(row), int(time.time() * 1e6)


def behind_backlog(rig, sink):
    """Milliseconds of each single row, and of a page of acme's."""
    with rig.database() as name:
        rig.sinks(sink)
        rig.wait_workers(name, sink)
        rig.fill(name, 1)
        rig.wait_idle(name)
        write_backlog(rig, name)
        singles = []
        while len(singles) < OTHERS:
            singles.append(write_single(rig, name, "other-%d" % len(singles)))
            time.sleep(BETWEEN_S[sink])
        last = max(at for _, at in singles)
        rig.wait_idle(name)
        at_sink = acknowledged(rig, name, sink)
        times = sorted(at for row, at in at_sink.items() if row not in dict(singles))[-ROWS:]
        if times[-1] < last:
            raise RuntimeError("the backlog was gone %.1f s before the last single row" % ((last - times[-1]) / 1e6))
        page = PAGE * (times[-1] - times[0]) / len(times) / 1000
        rig.sinks()
        rig.wait_workers(name)
    return [max(0, at_sink[row] - at) / 1000 for row, at in singles], page


def add_behind(table, sink, played):
    pages = [page for _, page in played]
    for title, share in (("p50", 0.5), ("p95", 0.95), ("longest", 1)):
        values = [percentile(took, share) for took, _ in played]
        table.add("fairness", "single row behind %s rows of another tenant, %s, %s, beside a page of those" % (
            "{:,}".format(ROWS), sink, title), median(values), "ms", values, median(pages), pages,
            most=1, of="ratio")


def run_writer(rig, name):
    log = WORK / "zipf.jsonl"
    subprocess.run(
        [STANDIN / "writer", "-d", "dbname=" + name, "-l", log, "-n", str(ZIPF_RATE * ZIPF_SECONDS), "-R",
         str(ZIPF_RATE), "-c", "8", "-T", str(TENANTS), "-z", str(ZIPF), "-S", "10", "-u", name],
        env=rig.env, stdout=subprocess.DEVNULL, check=True)
    log.unlink()


def overload(rig):
    """Milliseconds of each row: of the large tenants, of the small ones."""
    with rig.database() as name:
        rig.sinks("somabrain")
        rig.wait_workers(name, "somabrain")
        rig.fill(name, 1)
        rig.wait_idle(name)
        run_writer(rig, name)
        rig.wait_idle(name)
        at_sink = acknowledged(rig, name, "somabrain")
        large, small = [], []
        for row, tenant, at in rig.on(name).ask(
                "SELECT id, substr(tenant, 2), (extract(epoch FROM created_at) * 1000000)::bigint"
                " FROM somamem.outbox WHERE tenant <> 'acme'"):
            took = max(0, at_sink[int(row)] - int(at)) / 1000
            if int(tenant) < LARGE:
                large.append(took)
            elif int(tenant) >= SMALL:
                small.append(took)
        rig.sinks()
        rig.wait_workers(name)
    return large, small


def add_overload(table, played):
    for share in (0.5, 0.95):
        large = [percentile(took, share) for took, _ in played]
        small = [percentile(took, share) for _, took in played]
        table.add("fairness", "%d writes/s of %d tenants (Zipf %.1f), more than SomaBrain takes: tenants past the"
                  " first %d, p%d, beside the first %d" % (ZIPF_RATE, TENANTS, ZIPF, SMALL, share * 100, LARGE),
                  median(small), "ms", small, median(large), large)


def fairness(rig, table, rounds):
    try:
        for sink in SINKS:
            rig.brain_says(delay_ms=DELAY_MS)
            add_behind(table, sink, [behind_backlog(rig, sink) for _ in range(rounds)])
        rig.brain_says(delay_ms=ZIPF_DELAY_MS)
        add_overload(table, [overload(rig) for _ in range(max(1, rounds - 1))])
    finally:
        rig.brain_says(delay_ms=0)
