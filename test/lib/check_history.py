#!/usr/bin/env python3
"""Compares what writers were told with what the sinks hold.

    check_history.py --written LOG... [--somabrain RECORD] [--kafka DUMP]
                     [--kept FILE] [--dead [SINK=]FILE]... [--no-repeats] [--json]

LOG is the writer's (test/lib/writer.c), RECORD the stand-in's, DUMP that of
kafkadump.  FILEs of --kept and --dead have a line "tenant TAB key" each: the
rows that the database still had after a crash (an acknowledged row that is not
among them was undone, which asynchronous commit allows, and must not be at a
sink), and the dead letters (which may be missing at a sink: at the named one,
or at each).

For each sink:
  lost      acknowledged, and not there
  ghosts    there, and rolled back, refused, undone, or never asked for
  repeated  there once more, with the same key
  disorder  of one session: there before a row that was acknowledged before
            this one was begun
  differs   the payload, as JSON (numbers digit by digit), or what stands
            beside it, is not what was written
Exit 1 where any of them is found; repeats count with --no-repeats only.
A row whose outcome the writer never learned may be there or not.
"""
import argparse
import hashlib
import json
import sys
from array import array
from decimal import Decimal

ACKED, UNKNOWN, VOID = 0, 1, 2
NEVER = 2**62
EXAMPLES = 5
SINKS = ("somabrain", "kafka")

sys.set_int_max_str_digits(0)


def number(text):
    """A number in the spelling that jsonb gives it."""
    plain = format(Decimal(text), "f")
    if plain.startswith("-") and not plain.strip("-0."):
        plain = plain[1:]
    return int(plain) if "." not in plain else "\x00" + plain


DECODER = json.JSONDecoder(parse_float=number)
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def lines_of(path):
    """The file's JSON lines; a line that a kill tore is left out."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for text in file:
            try:
                line = DECODER.decode(text)
            except ValueError:
                continue
            yield line


def print_of(value):
    return hashlib.blake2b(ENCODER.encode(value).encode("utf-8", "surrogatepass"),
                           digest_size=16).digest()


def key_print(tenant, key_sha256):
    return hashlib.blake2b(f"{tenant}\0{key_sha256}".encode("utf-8", "surrogatepass"),
                           digest_size=16).digest()


def sha256(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path):
    keys = set()
    with open(path, encoding="utf-8") as file:
        for line in file:
            tenant, _, key = line.rstrip("\n").partition("\t")
            keys.add(key_print(tenant, sha256(key)))
    return keys


class History:
    """What was asked for, a number for each row; the arrays are indexed by it."""

    def __init__(self):
        self.state = bytearray()
        self.begin = array("q")
        self.end = array("q")
        self.session = array("l")
        self.payload = []
        self.by_key = {}
        self.by_payload = {}        # rows without a key, since no answer came
        self.sessions = {}
        self.names = []

    def add(self, line):
        tenant, session = line["tenant"], line["session"]
        state = {"acked": ACKED, "unknown": UNKNOWN}.get(line["state"], VOID)
        key = line["key"] and key_print(tenant, sha256(line["key"]))
        end = line["end"] if state == ACKED else NEVER
        row = self.by_key.get(key) if key else None
        if row is None:
            row = len(self.state)
            self.state.append(state)
            self.begin.append(line["begin"])
            self.end.append(end)
            self.session.append(self.session_number(tenant, session))
            self.payload.append(print_of(line["payload"]))
            if key:
                self.by_key[key] = row
            elif state == UNKNOWN:
                self.by_payload[(tenant, self.payload[row])] = row
        elif state == ACKED:
            # A repeated call for the same row: the first receipt is the proof.
            self.state[row] = ACKED
            self.begin[row] = min(self.begin[row], line["begin"])
            self.end[row] = min(self.end[row], end)

    def session_number(self, tenant, session):
        number_of = self.sessions.setdefault((tenant, session), len(self.sessions))
        if number_of == len(self.names):
            self.names.append((tenant, session))
        return number_of

    def undo_all_but(self, kept):
        undone = 0
        for key, row in self.by_key.items():
            if self.state[row] == ACKED and key not in kept:
                self.state[row] = VOID
                undone += 1
        return undone


class Sink:
    def __init__(self, name, history):
        self.name = name
        self.history = history
        self.first = array("q", [-1]) * len(history.state)
        self.last_at = array("q", [0]) * len(history.state)
        self.times = array("q")     # of every delivery, in microseconds
        self.repeats = []           # (when it was there before, when again)
        self.lines = 0
        self.counts = dict.fromkeys(
            ("delivered", "repeated", "lost", "ghosts", "disorder", "differs"), 0)
        self.examples = []

    def note(self, what, detail):
        self.counts[what] += 1
        if what != "repeated" and len(self.examples) < EXAMPLES:
            self.examples.append(f"{self.name}: {what}: {detail}")

    def take(self, tenant, key, key_sha256, payload, session, detail, at=0):
        """Counts one delivery; session is None where the sink does not say."""
        history = self.history
        self.lines += 1
        self.times.append(at)
        digest = print_of(payload)
        row = history.by_key.get(key_print(tenant, key_sha256 or sha256(key)))
        if row is None:
            row = history.by_payload.get((tenant, digest))
        if row is None or history.state[row] == VOID:
            self.note("ghosts", detail)
            return
        if self.first[row] >= 0:
            self.note("repeated", detail)
            self.repeats.append((self.last_at[row], at))
        else:
            self.first[row] = self.lines
            self.counts["delivered"] += 1
        self.last_at[row] = at
        names = history.names[history.session[row]]
        if digest != history.payload[row] or session not in (None, names[1]):
            self.note("differs", detail)

    def finish(self, dead):
        history = self.history
        dead_rows = {history.by_key.get(key) for key in dead}
        deliveries = {}
        for row, first in enumerate(self.first):
            if first >= 0:
                deliveries.setdefault(history.session[row], []).append((first, row))
            elif history.state[row] == ACKED and row not in dead_rows:
                self.note("lost", f"row begun as {history.begin[row]}")
        for session, rows in deliveries.items():
            self.find_disorder(session, rows)

    def find_disorder(self, session, rows):
        """Walks back from the last delivery with the earliest receipt seen so far."""
        earliest = NEVER
        for _, row in sorted(rows, reverse=True):
            if earliest < self.history.begin[row]:
                self.note("disorder", f"session {self.history.names[session]}")
            earliest = min(earliest, self.history.end[row])


def read_dead(arguments):
    """{sink: keys of its dead letters}, from "FILE" (of every sink) and "SINK=FILE"."""
    dead = {sink: set() for sink in SINKS}
    for argument in arguments:
        sink, _, path = argument.partition("=")
        if sink in SINKS:
            dead[sink] |= read_keys(path)
        else:
            keys = read_keys(argument)
            for name in SINKS:
                dead[name] |= keys
    return dead


def read_written(paths):
    history = History()
    for path in paths:
        for line in lines_of(path):
            history.add(line)
    return history


def read_somabrain(path, history):
    sink = Sink("somabrain", history)
    for line in lines_of(path):
        sink.take(line["tenant"], line["key"], line.get("key_sha256"), line["value"],
                  line["session"], f"line {line['seq']}", line.get("at", 0))
    return sink


def encoded(part):
    return part.replace("%", "%25").replace("/", "%2F")


def event_fault(line, ce_ids):
    """What is wrong with a Kafka message beside its payload, or None."""
    event = line["value"]
    headers = dict(line["headers"])
    if event.get("type") != "memory.write":
        return "type"
    if line["key"] != encoded(event["tenant"]) + "/" + encoded(event["session_id"]):
        return "key"
    for name in ("id", "idempotency_key", "role", "session_id", "persona_id", "tenant",
                 "namespace", "payload", "result", "timestamp"):
        if name not in event:
            return f"no {name}"
    if any(not headers.get(f"ce_{name}")
           for name in ("id", "source", "type", "time", "specversion")):
        return "CloudEvents headers"
    row = key_print(event["tenant"], sha256(event["idempotency_key"]))
    if ce_ids.setdefault((headers["ce_source"], headers["ce_id"]), row) != row:
        return "ce_id of another row"
    return None


def read_kafka(path, history):
    sink = Sink("kafka", history)
    ce_ids = {}
    partitions = {}
    for line in lines_of(path):
        where = f"partition {line['partition']} offset {line['offset']}"
        event = line["value"]
        if not isinstance(event, dict) or "tenant" not in event or "session_id" not in event:
            sink.note("ghosts", where)
            continue
        fault = event_fault(line, ce_ids)
        if fault:
            sink.note("differs", f"{where}: {fault}")
        if partitions.setdefault(line["key"], line["partition"]) != line["partition"]:
            sink.note("disorder", f"{where}: session in two partitions")
        sink.take(event["tenant"], event.get("idempotency_key", ""), None, event.get("payload"),
                  event["session_id"], where, 1000 * int(line.get("timestamp", 0)))
    return sink


def report(history, sinks, undone):
    acked = sum(state == ACKED for state in history.state)
    unknown = sum(state == UNKNOWN for state in history.state)
    extra = f", {unknown} with unknown outcome" if unknown else ""
    extra += f", {undone} undone by the crash" if undone else ""
    print(f"written and acknowledged: {acked}{extra}")
    if not sinks:
        return
    print("".join(f"{title:>11}" for title in ("sink", *sinks[0].counts)))
    for sink in sinks:
        print("".join(f"{text:>11}" for text in (sink.name, *sink.counts.values())))
    for sink in sinks:
        for example in sink.examples:
            print(example, file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description="compares acknowledged writes with the sinks")
    parser.add_argument("--written", nargs="+", required=True)
    parser.add_argument("--somabrain")
    parser.add_argument("--kafka")
    parser.add_argument("--kept")
    parser.add_argument("--dead", action="append", default=[])
    parser.add_argument("--no-repeats", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    history = read_written(options.written)
    undone = history.undo_all_but(read_keys(options.kept)) if options.kept else 0
    sinks = []
    if options.somabrain:
        sinks.append(read_somabrain(options.somabrain, history))
    if options.kafka:
        sinks.append(read_kafka(options.kafka, history))
    dead = read_dead(options.dead)
    for sink in sinks:
        sink.finish(dead[sink.name])
    if options.json:
        print(json.dumps({"written": sum(state == ACKED for state in history.state),
                          "unknown": sum(state == UNKNOWN for state in history.state),
                          "undone": undone,
                          "sinks": {sink.name: sink.counts for sink in sinks},
                          "examples": [text for sink in sinks for text in sink.examples]}))
    else:
        report(history, sinks, undone)
    wrong = ["lost", "ghosts", "disorder", "differs"]
    if options.no_repeats:
        wrong.append("repeated")
    sys.exit(any(sink.counts[what] for sink in sinks for what in wrong))


if __name__ == "__main__":
    main()
