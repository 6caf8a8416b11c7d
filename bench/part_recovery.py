"""From a sink being back to the first delivery after an outage.

Several databases suffer each outage, and each is a sample.  SomaBrain is back
when the stand-in was told so; Kafka, whose node is killed and started again,
when a bare producer that tries all the while gets a message through.
"""
import contextlib
import subprocess
import time

from rig import BUILD, WORK, percentile, tool

DATABASES = 4
OUTAGE_SECONDS = 10
PENDING = 5000
FAULTS = (("down", {"mode": "down"}), ("hang", {"mode": "hang"}), ("503", {"mode": "status", "status": 503}))


def first_after(rig, name, sink, began, back):
    """Seconds from back to the first acknowledgement since the outage began (both Unix time)."""
    at = float(rig.on(name).one(
        "SELECT min(extract(epoch FROM u.at)) FROM somamem.shipment AS s, unnest(s.delivered_at) AS u (at)"
        " WHERE s.sink = '%s' AND u.at > to_timestamp(%f)" % (sink, began)))
    return max(0.0, at - back)


def suffer(rig, names, sink, begin, end):
    """One outage over all databases: a sample of each."""
    begin()
    began = time.time()
    for name in names:
        rig.fill(name, PENDING)
    time.sleep(max(0, began + OUTAGE_SECONDS - time.time()))
    back = end()
    for name in names:
        rig.wait_idle(name, 120)
    return [first_after(rig, name, sink, began, back) for name in names]


def brain_back(rig):
    rig.brain_says(mode="ok")
    return time.time()


def kafka_back(rig):
    """Starts the broker again; a bare client says when it can be written to."""
    client = subprocess.Popen(
        [BUILD / "producer", "-b", rig.brokers, "-n", "1", "-t", "bench.back", "-X", "reconnect.backoff.ms=50",
         "-X", "reconnect.backoff.max.ms=50", "-X", "retry.backoff.ms=50", "-X", "message.timeout.ms=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tool("kafka.sh", "node", WORK / "kafka", 1, "start")
    client.wait(120)
    return time.time()


def open_databases(rig, stack, sink):
    names = [stack.enter_context(rig.database()) for _ in range(DATABASES)]
    rig.sinks(sink)
    for name in names:
        rig.wait_workers(name, sink)
        rig.fill(name, 1)
        rig.wait_idle(name)
    return names


def add(table, what, samples):
    table.add("recovery", "first delivery after %d s of %s, p95 of %d samples" % (OUTAGE_SECONDS, what, len(samples)),
              percentile(samples, 0.95), "s", sorted(samples), most=2)


def recover_brain(rig, table, rounds):
    with contextlib.ExitStack() as stack:
        names = open_databases(rig, stack, "somabrain")
        for what, fault in FAULTS:
            samples = []
            for _ in range(max(1, rounds - 1)):
                samples += suffer(rig, names, "somabrain", lambda: rig.brain_says(**fault), lambda: brain_back(rig))
            add(table, "SomaBrain " + what, samples)
        rig.sinks()


def recover_kafka(rig, table, rounds):
    if "mock" in rig.kafka_kind:
        return
    with contextlib.ExitStack() as stack:
        names = open_databases(rig, stack, "kafka")
        samples = []
        for _ in range(max(1, rounds - 1)):
            samples += suffer(rig, names, "kafka", lambda: tool("kafka.sh", "node", WORK / "kafka", 1, "kill"),
                              lambda: kafka_back(rig))
        add(table, "Kafka killed", samples)
        rig.sinks()


def recovery(rig, table, rounds):
    recover_brain(rig, table, rounds)
    recover_kafka(rig, table, rounds)
