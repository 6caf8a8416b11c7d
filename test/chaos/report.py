#!/usr/bin/env python3
"""The table at the end of a chaos run.

    report.py --faults LOG --written LOG... --somabrain RECORD --kafka DUMP
              [--dead SINK=FILE]... [--exactly SINK]... [--fact NAME=VALUE]...

The history is judged by test/lib/check_history.py.  LOG of --faults has a JSON
object a line: name, begin, end (microseconds since the epoch), and lists of
sinks: out (nothing is delivered meanwhile), kill (a death lost answers there),
mute (answers are lost while the rows are taken).

Faults that touch or overlap are one outage of a sink; its recovery lasts from
their end to the first delivery after it.  A repeat belongs to the lost answers
in whose time the row was delivered before, else to the first kill after that,
else to nothing: such a one is told apart.  What the killed one had sent to a
sink that was away may come in when the sink is back.
Exit 1 where anything is lost, invented, out of order or changed, and where a
sink of --exactly has repeats.
"""
import argparse
import bisect
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import check_history  # noqa: E402

# What was on its way to a sink when its sender died may come in a little later.
SLACK_US = 250_000
# A delivery so soon after a kill is one of the process that was killed.
STILL_US = 20_000
# An outage that begins before the one before was recovered from hides how long that took:
# what is known to have lasted longer than this counts all the same.
PATIENCE_US = 2_000_000
EXAMPLES = 3


class Fault:
    def __init__(self, line):
        self.name, self.begin, self.end = line["name"], line["begin"], line["end"]
        self.out, self.kill, self.mute = line["out"], line["kill"], line["mute"]


def read_faults(path):
    with open(path, encoding="utf-8") as file:
        return sorted((Fault(json.loads(line)) for line in file), key=lambda fault: fault.begin)


def outages_of(faults, sink):
    """[begin, end, name of the fault that ended last] of each, faults that overlap taken together."""
    outages = []
    for fault in faults:
        if sink not in fault.out:
            continue
        if outages and fault.begin <= outages[-1][1]:
            if fault.end > outages[-1][1]:
                outages[-1][1:] = [fault.end, fault.name]
        else:
            outages.append([fault.begin, fault.end, fault.name])
    return outages


def recoveries(faults, sink, times):
    """[(microseconds, name of the fault)]; times are those of the deliveries."""
    times = sorted(times)
    outages = outages_of(faults, sink)
    found = []
    for i, (_, end, name) in enumerate(outages):
        place = bisect.bisect_left(times, end + STILL_US)
        first = times[place] if place < len(times) else None
        following = outages[i + 1][0] if i + 1 < len(outages) else None
        if first is not None and (following is None or first <= following):
            found.append((first - end, name))
        elif following is not None and following - end > PATIENCE_US:
            found.append((following - end, name))
    return found


class Blame:
    """Which faults account for a sink's repeats: causes {name: repeats}; most, of one kill; muted, because of
    answers that were lost; strange, those that nothing known accounts for."""

    def __init__(self, faults, sink, repeats):
        outages = outages_of(faults, sink)
        self.mutes = [fault for fault in faults if sink in fault.mute]
        self.kills = [(fault, max([fault.end] + [end for begin, end, _ in outages if begin <= fault.begin <= end]))
                      for fault in faults if sink in fault.kill]
        self.causes, self.muted, self.strange = {}, 0, []
        by_kill = {}
        for before_at, again_at in repeats:
            mute, kill = self.cause_of(before_at, again_at)
            name = (mute or kill).name if mute or kill else "nothing known"
            self.causes[name] = self.causes.get(name, 0) + 1
            if mute:
                self.muted += 1
            elif kill:
                by_kill[kill] = by_kill.get(kill, 0) + 1
            else:
                self.strange.append((before_at, again_at))
        self.most = max(by_kill.values(), default=0)

    def cause_of(self, before_at, again_at):
        return (next((fault for fault in self.mutes
                      if fault.begin - SLACK_US <= before_at <= fault.end + SLACK_US), None),
                next((fault for fault, end in self.kills
                      if end >= before_at - SLACK_US and fault.begin <= again_at), None))


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def seconds(microseconds):
    return "%.2f" % (microseconds / 1e6) if microseconds is not None else "-"


class Paper:
    """Lines of a name and a figure per sink."""

    def __init__(self):
        self.rows = []

    def add(self, name, *cells):
        self.rows.append((name, *map(str, cells)))

    def text(self):
        wide = max(len(row[0]) for row in self.rows)
        return "\n".join((row[0].ljust(wide) + "".join(cell.rjust(14) for cell in row[1:])).rstrip()
                         for row in self.rows)


def put_history(paper, history, sinks, dead):
    state = history.state
    paper.add("writes acknowledged", f"{sum(s == check_history.ACKED for s in state):,}")
    paper.add("  rolled back, or undone", f"{sum(s == check_history.VOID for s in state):,}")
    paper.add("  outcome never learned", f"{sum(s == check_history.UNKNOWN for s in state):,}")
    paper.add("", *(sink.name for sink in sinks))
    paper.add("delivered", *(f"{sink.counts['delivered']:,}" for sink in sinks))
    paper.add("dead letters", *(f"{len(dead[sink.name]):,}" for sink in sinks))
    for what, title in (("lost", "lost"), ("ghosts", "ghosts"), ("disorder", "order violations"),
                        ("differs", "payload differences")):
        paper.add(title, *(sink.counts[what] for sink in sinks))


def per_million(sink, count):
    return 1e6 * count / max(1, sink.counts["delivered"])


def put_repeats(paper, faults, sinks):
    blamed = [Blame(faults, sink.name, sink.repeats) for sink in sinks]
    paper.add("repeats", *(f"{sink.counts['repeated']:,}" for sink in sinks))
    paper.add("repeats per million", *(f"{per_million(sink, sink.counts['repeated']):,.0f}" for sink in sinks))
    paper.add("  but for lost answers", *(f"{per_million(sink, sink.counts['repeated'] - of.muted):,.0f}"
                                          for sink, of in zip(sinks, blamed)))
    paper.add("most repeats of one kill", *(f"{of.most:,}" for of in blamed))
    for name in sorted({name for of in blamed for name in of.causes}):
        paper.add("  after: " + name, *(f"{of.causes.get(name, 0):,}" for of in blamed))


def explain(faults, sinks):
    """What went on around some of the repeats that no fault accounts for."""
    for sink in sinks:
        for before_at, again_at in Blame(faults, sink.name, sink.repeats).strange[:EXAMPLES]:
            near = ["%s %.2f to %.2f" % (fault.name, (fault.begin - before_at) / 1e6, (fault.end - before_at) / 1e6)
                    for fault in faults if fault.end >= before_at - 5 * PATIENCE_US and fault.begin <= again_at]
            yield "%s: repeated after %.2f s, nothing known; around it: %s" % (
                sink.name, (again_at - before_at) / 1e6, ", ".join(near) or "nothing")


def put_recoveries(paper, found):
    paper.add("recoveries", *(len(of_sink) for of_sink in found))
    for title, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0)):
        paper.add(f"  to the first delivery, {title}, s",
                  *(seconds(percentile([took for took, _ in of_sink], share)) for of_sink in found))


def put_faults(paper, faults, found):
    paper.add("")
    paper.add("fault", "times", "recoveries", "longest, s")
    for name in sorted({fault.name for fault in faults}):
        took = [took for of_sink in found for took, blamed in of_sink if blamed == name]
        paper.add("  " + name, sum(fault.name == name for fault in faults), len(took) or "-",
                  seconds(max(took, default=None)))


def main():
    parser = argparse.ArgumentParser(description="the table of a chaos run")
    parser.add_argument("--faults", required=True)
    parser.add_argument("--written", nargs="+", required=True)
    parser.add_argument("--somabrain", required=True)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--dead", action="append", default=[])
    parser.add_argument("--exactly", action="append", default=[])
    parser.add_argument("--fact", action="append", default=[])
    options = parser.parse_args()

    faults = read_faults(options.faults)
    history = check_history.read_written(options.written)
    sinks = [check_history.read_somabrain(options.somabrain, history),
             check_history.read_kafka(options.kafka, history)]
    dead = check_history.read_dead(options.dead)
    for sink in sinks:
        sink.finish(dead[sink.name])
    found = [recoveries(faults, sink.name, sink.times) for sink in sinks]
    paper = Paper()
    for fact in options.fact:
        paper.add(*fact.split("=", 1))
    put_history(paper, history, sinks, dead)
    put_repeats(paper, faults, sinks)
    put_recoveries(paper, found)
    put_faults(paper, faults, found)
    print("\n" + paper.text() + "\n")
    for sink in sinks:
        for example in sink.examples:
            print(example)
    for line in explain(faults, sinks):
        print(line)
    sys.exit(any(sink.counts[what] for sink in sinks for what in ("lost", "ghosts", "disorder", "differs"))
             or any(sink.counts["repeated"] for sink in sinks if sink.name in options.exactly))


if __name__ == "__main__":
    main()
