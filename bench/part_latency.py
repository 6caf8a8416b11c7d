"""From commit to acknowledgement, at a steady pace, with both sinks on.

The writer notes the time when its commit returned; delivered_at is the
courier's clock at the sink's answer.  A second group of connections waits for
what it wrote, and so sees the record of the acknowledgement.  Beside it: a bare
librdkafka producer at the same pace, while the same rows are written with the
sinks off.
"""
import re
import subprocess

from part_drain import write_payloads
from rig import BUILD, SINKS, median, percentile

RATE = 450
WAITED_RATE = 50
SECONDS = 10
WARM_SECONDS = 2


def pace(rig, name, rate, waited_rate, seconds=SECONDS):
    """Rows of (id, microseconds when its commit returned, when wait_for returned or 0)."""
    out = subprocess.run(
        [BUILD / "pace", "-d", "dbname=" + name, "-s", str(seconds), "-c", "4", "-r", str(rate),
         "-C", "4", "-R", str(waited_rate)], env=rig.env, capture_output=True, text=True, check=True).stdout
    return [tuple(map(int, line.split())) for line in out.splitlines()]


def acknowledged(rig, name, sink):
    """{id: microseconds of its acknowledgement}"""
    return {int(row): int(at) for row, at in rig.on(name).ask(
        "SELECT u.id, (extract(epoch FROM u.at) * 1000000)::bigint FROM somamem.shipment AS s,"
        " unnest(s.ids, s.delivered_at) AS u (id, at) WHERE s.sink = '%s'" % sink)}


def pace_bare(rig, name):
    """Milliseconds (p50, p99) from send to report of a bare producer beside the same writing."""
    rate = RATE + WAITED_RATE
    producer = subprocess.Popen(
        [BUILD / "producer", "-b", rig.brokers, "-n", str(rate * SECONDS), "-r", str(rate), "-X", "linger.ms=1",
         "-f", write_payloads(rig, name)], stdout=subprocess.PIPE, text=True)
    pace(rig, name, rate, 0)
    found = re.search(r"p50_ms (\S+) p99_ms (\S+)", producer.communicate(timeout=60)[0])
    return float(found.group(1)), float(found.group(2))


def one_round(rig):
    with rig.database() as name:
        bare = pace_bare(rig, name)
        rig.sinks(*SINKS)
        rig.wait_workers(name, *SINKS)
        rig.fill(name, 1)
        pace(rig, name, RATE, WAITED_RATE, WARM_SECONDS)
        rig.wait_idle(name)
        written = pace(rig, name, RATE, WAITED_RATE)
        rig.wait_idle(name)
        took = {"commit until wait_for returns": [(seen - at) / 1000 for _, at, seen in written if seen]}
        for sink in SINKS:
            at_sink = acknowledged(rig, name, sink)
            took["commit to acknowledgement by " + sink] = \
                [max(0, at_sink[row] - at) / 1000 for row, at, _ in written]
        rig.sinks()
        rig.wait_workers(name)
    return took, bare


def latency(rig, table, rounds):
    played = [one_round(rig) for _ in range(rounds)]
    for what in sorted(played[0][0]):
        limits = (5, 30) if "acknowledgement" in what else (None, None)
        for i, (share, most) in enumerate(zip((0.5, 0.99), limits)):
            values = [percentile(took[what], share) for took, _ in played]
            bare = [there[i] for _, there in played] if "kafka" in what else ()
            table.add("latency", "%s, %d writes/s, p%d%s" % (
                what, RATE + WAITED_RATE, share * 100, ", beside a bare producer's" if bare else ""),
                median(values), "ms", values, median(bare) if bare else None, bare, most=most)
