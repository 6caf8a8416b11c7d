#!/usr/bin/env python3
"""The history checker finds each kind of damage, and nothing where there is none."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_history.py")


def written(n, session="s", state="acked", begin=None, **more):
    begin = 2 * n if begin is None else begin
    return {"n": n, "begin": begin, "end": begin + 1, "state": state, "id": n, "tenant": "a/b",
            "session": session, "key": f"k{n}" if state != "unknown" else None,
            "deduplicated": False, "payload": {"content": f"row {n}"}, **more}


def delivered(n, session="s", **more):
    return {"seq": n, "at": 1, "form": "batch", "tenant": "a/b", "namespace": "wm",
            "session": session, "key": f"k{n}", "repeat": False,
            "value": {"content": f"row {n}"}, **more}


def event(n, partition=0, **more):
    value = {"type": "memory.write", "id": n, "idempotency_key": f"k{n}", "role": "user",
             "session_id": "s", "persona_id": None, "tenant": "a/b", "namespace": "wm",
             "payload": {"content": f"row {n}"}, "result": None, "timestamp": 1.5}
    headers = [[f"ce_{name}", "x"] for name in ("source", "type", "time", "specversion")]
    return {"partition": partition, "offset": n, "timestamp": 1, "key": "a%2Fb/s",
            "headers": headers + [["ce_id", str(n)]], "value": {**value, **more}}


class CheckHistory(unittest.TestCase):
    def check(self, log, record, sink="somabrain", options=(), files=()):
        with tempfile.TemporaryDirectory() as folder:
            def put(name, lines):
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.writelines(
                        (line if isinstance(line, str) else json.dumps(line)) + "\n"
                        for line in lines)
                return path
            command = [sys.executable, CHECKER, "--json", "--written", put("log", log),
                       "--" + sink, put("record", record), *options]
            for option, lines in files:
                command += [option, put(option.strip("-"), lines)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            counts = json.loads(result.stdout)["sinks"][sink]
            return result.returncode, {what: n for what, n in counts.items() if n}

    def test_equal_histories_pass(self):
        self.assertEqual(self.check([written(1), written(2)], [delivered(1), delivered(2)]),
                         (0, {"delivered": 2}))

    def test_a_missing_row_is_lost(self):
        self.assertEqual(self.check([written(1), written(2)], [delivered(1)]),
                         (1, {"delivered": 1, "lost": 1}))

    def test_a_dead_letter_is_not_lost(self):
        self.assertEqual(self.check([written(1), written(2)], [delivered(1)],
                                    files=[("--dead", ["a/b\tk2"])]),
                         (0, {"delivered": 1}))

    def test_a_dead_letter_of_another_sink_is_lost(self):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write("a/b\tk2\n")
            file.flush()
            args = ([written(1), written(2)], [delivered(1)])
            self.assertEqual(self.check(*args, options=["--dead", "somabrain=" + file.name])[0], 0)
            self.assertEqual(self.check(*args, options=["--dead", "kafka=" + file.name])[0], 1)

    def test_an_unknown_row_is_a_ghost(self):
        self.assertEqual(self.check([written(1)], [delivered(1), delivered(7)]),
                         (1, {"delivered": 1, "ghosts": 1}))

    def test_a_rolled_back_row_is_a_ghost(self):
        self.assertEqual(self.check([written(1, state="rolledback")], [delivered(1)]),
                         (1, {"ghosts": 1}))

    def test_an_undone_row_is_a_ghost(self):
        log = [written(1), written(2)]
        kept = [("--kept", ["a/b\tk1"])]
        self.assertEqual(self.check(log, [delivered(1)], files=kept), (0, {"delivered": 1}))
        self.assertEqual(self.check(log, [delivered(1), delivered(2)], files=kept),
                         (1, {"delivered": 1, "ghosts": 1}))

    def test_an_unknown_outcome_may_go_either_way(self):
        log = [written(1, state="unknown")]
        self.assertEqual(self.check(log, []), (0, {}))
        self.assertEqual(self.check(log, [delivered(1)]), (0, {"delivered": 1}))

    def test_a_repeat_fails_only_on_request(self):
        args = ([written(1)], [delivered(1), delivered(1)])
        self.assertEqual(self.check(*args), (0, {"delivered": 1, "repeated": 1}))
        self.assertEqual(self.check(*args, options=["--no-repeats"])[0], 1)

    def test_overtaking_is_disorder(self):
        self.assertEqual(self.check([written(1), written(2)], [delivered(2), delivered(1)]),
                         (1, {"delivered": 2, "disorder": 1}))

    def test_concurrent_writes_have_no_order(self):
        self.assertEqual(self.check([written(1, begin=1, end=9), written(2, begin=2, end=8)],
                                    [delivered(2), delivered(1)]), (0, {"delivered": 2}))

    def test_sessions_have_no_order_between_them(self):
        self.assertEqual(self.check([written(1), written(2, session="z")],
                                    [delivered(2, session="z"), delivered(1)]),
                         (0, {"delivered": 2}))

    def test_a_repeat_out_of_order_is_no_disorder(self):
        self.assertEqual(self.check([written(1), written(2)],
                                    [delivered(1), delivered(2), delivered(1)])[0], 0)

    def test_another_payload_differs(self):
        self.assertEqual(self.check([written(1)], [delivered(1, value={"content": "row 2"})])[1],
                         {"delivered": 1, "differs": 1})

    def test_another_session_differs(self):
        self.assertEqual(self.check([written(1)], [delivered(1, session="z")])[0], 1)

    def test_numbers_count_digit_by_digit(self):
        line = json.dumps(written(1)).replace('"row 1"', "[1.50, 1e2, -0.0, 12345678901234567890]")
        same = json.dumps(delivered(1)).replace('"row 1"', "[1.50, 100, 0.0, 12345678901234567890]")
        self.assertEqual(self.check([line], [same])[0], 0)
        self.assertEqual(self.check([line], [same.replace("1.50", "1.5")])[0], 1)
        self.assertEqual(self.check([line], [same.replace("567890", "567891")])[0], 1)

    def test_the_legacy_form_is_found_by_its_digest(self):
        digest = hashlib.sha256(b"k1").hexdigest()
        self.assertEqual(self.check([written(1)], [delivered(1, key=None, key_sha256=digest)]),
                         (0, {"delivered": 1}))

    def test_a_torn_line_is_left_out(self):
        self.assertEqual(self.check([written(1)], [delivered(1), '{"seq": 2, "tena'])[0], 0)

    def test_kafka_events(self):
        log = [written(1), written(2)]
        self.assertEqual(self.check(log, [event(1), event(2)], "kafka"), (0, {"delivered": 2}))
        self.assertEqual(self.check(log, [event(2), event(1)], "kafka")[1]["disorder"], 1)
        self.assertEqual(self.check(log, [event(1), event(2, 1)], "kafka")[1]["disorder"], 1)
        self.assertEqual(self.check(log, [event(1), event(2, type="x")], "kafka")[1]["differs"], 1)
        broken = event(2)
        broken["headers"][-1][1] = "1"
        self.assertEqual(self.check(log, [event(1), broken], "kafka")[1]["differs"], 1)


if __name__ == "__main__":
    unittest.main()
