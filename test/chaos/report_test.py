#!/usr/bin/env python3
"""The table of a chaos run: which fault a recovery and a repeat belong to, and when it fails."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import report  # noqa: E402
from check_history_test import delivered, event, written  # noqa: E402

S = 1_000_000


def fault(name, begin, end, out=(), kill=(), mute=()):
    return report.Fault({"name": name, "begin": int(begin * S), "end": int(end * S),
                         "out": list(out), "kill": list(kill), "mute": list(mute)})


class Recoveries(unittest.TestCase):
    def found(self, faults, times):
        return [(took / S, name) for took, name in
                report.recoveries(faults, "kafka", [int(at * S) for at in times])]

    def test_from_the_end_to_the_first_delivery(self):
        self.assertEqual(self.found([fault("a", 10, 12, ["kafka"])], [9, 11, 12.5, 13]), [(0.5, "a")])

    def test_another_sinks_outage_is_none(self):
        self.assertEqual(self.found([fault("a", 10, 12, ["somabrain"])], [12.5]), [])

    def test_faults_that_overlap_are_one_outage(self):
        faults = [fault("a", 10, 14, ["kafka"]), fault("b", 11, 12, ["kafka"]), fault("c", 13, 15, ["kafka"])]
        self.assertEqual(self.found(faults, [12.5, 15.5]), [(0.5, "c")])

    def test_a_delivery_of_the_killed_process_is_none(self):
        self.assertEqual(self.found([fault("a", 10, 10, ["kafka"])], [10.001, 11]), [(1, "a")])

    def test_an_interrupted_recovery_counts_once_it_is_long(self):
        faults = [fault("a", 10, 11, ["kafka"]), fault("b", 12, 13, ["kafka"])]
        self.assertEqual(self.found(faults, [13.5]), [(0.5, "b")])
        faults[1].begin = 15 * S
        faults[1].end = 16 * S
        self.assertEqual(self.found(faults, [16.5]), [(4, "a"), (0.5, "b")])


class Causes(unittest.TestCase):
    def blamed(self, faults, repeats):
        blame = report.Blame(faults, "kafka", [(int(a * S), int(b * S)) for a, b in repeats])
        return blame.causes, blame.most, blame.muted, blame.strange

    def test_a_kill_between_the_two_deliveries(self):
        faults = [fault("a", 5, 5, kill=["kafka"]), fault("b", 10, 10, kill=["kafka"]), fault("c", 20, 20, kill=["kafka"])]
        self.assertEqual(self.blamed(faults, [(9, 11), (9.5, 25)]), ({"b": 2}, 2, 0, []))

    def test_lost_answers_come_first(self):
        faults = [fault("a", 8, 12, mute=["kafka"]), fault("b", 10, 10, kill=["kafka"])]
        self.assertEqual(self.blamed(faults, [(9, 11)]), ({"a": 1}, 0, 1, []))

    def test_what_was_sent_to_a_sink_that_was_away(self):
        faults = [fault("a", 5, 9, out=["kafka"]), fault("b", 6, 6, out=["kafka"], kill=["kafka"])]
        self.assertEqual(self.blamed(faults, [(9.1, 9.2), (9.3, 9.4)]), ({"b": 1, "nothing known": 1}, 1, 0, [(9.3 * S, 9.4 * S)]))

    def test_what_nothing_explains_is_told(self):
        self.assertEqual(self.blamed([fault("a", 20, 20, kill=["kafka"])], [(9, 11)]), ({"nothing known": 1}, 0, 0, [(9 * S, 11 * S)]))


class Program(unittest.TestCase):
    def run_on(self, log, record, dump, *options):
        with tempfile.TemporaryDirectory() as folder:
            def put(name, lines):
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(line) + "\n" for line in lines)
                return path
            return subprocess.run(
                [sys.executable, os.path.join(HERE, "report.py"), "--faults", put("faults", []), "--written",
                 put("log", log), "--somabrain", put("record", record), "--kafka", put("dump", dump), *options],
                capture_output=True, text=True, check=False)

    def test_it_fails_where_something_is_wrong(self):
        log = [written(1), written(2)]
        both, dump = [delivered(1), delivered(2)], [event(1, session_id="s"), event(2, session_id="s")]
        self.assertEqual(self.run_on(log, both, dump).returncode, 0)
        self.assertEqual(self.run_on(log, both[:1], dump).returncode, 1)
        self.assertEqual(self.run_on(log, both, dump[::-1]).returncode, 1)
        self.assertEqual(self.run_on(log, both + [delivered(3)], dump).returncode, 1)

    def test_repeats_fail_where_exactly_once_is_promised(self):
        args = ([written(1)], [delivered(1)], [event(1), event(1)])
        self.assertEqual(self.run_on(*args).returncode, 0)
        self.assertEqual(self.run_on(*args, "--exactly", "kafka").returncode, 1)
        self.assertEqual(self.run_on(*args, "--exactly", "somabrain").returncode, 0)


if __name__ == "__main__":
    unittest.main()
