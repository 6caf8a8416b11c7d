"""What a decision costs: memory_write with policy = builtin beside policy = off, and Open Policy Agent.

The two sides of a comparison take turns, each with a reload before it, in
more and shorter rounds than elsewhere, because they differ by little.  A
decision by itself is timed by the server (policy_stats), and is the difference
of the two sides where commits wait for no disk.

OPA runs with the project's rules; sessions ask it by authorize, each call timed
by pgbench, beside a bare client on as many connections.  Without a pause
between calls both are bounded by the processor time of OPA; at a pace, by
what a single decision takes.  Then OPA hangs: no call may last longer than
somamem.opa_timeout; then it is killed: with the circuit open, a refusal waits
for nothing.
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.request

from part_sessions import free_port
from rig import BUILD, PAYLOAD, ROOT, WORK, median, percentile, wait_until

SECONDS = 1
TURNS = 2  # of each side, for each round that was asked for
SESSIONS = 8
PACE = 400  # decisions a second, where they are asked for at a pace
TIMEOUT_MS = 300  # somamem.opa_timeout
TENANTS = 64
LIMIT = "1000000000"  # never reached, but every write is counted and compared
OPA = pathlib.Path(os.environ.get("SMEM_OPA", ROOT / "build/opa/opa"))
WRITE = ("\\set k random(1, 9000000000000000000)\n\\set t random(1, :tenants)\n"
         "SELECT * FROM somamem.memory_write(:payload, 'tenant-' || :t, 'session-17',"
         " 'acme/wm/session-17/user/' || :k);\n")
INPUT = json.dumps({"action": "memory.write", "resource": "somabrain", "tenant": "acme", "payload": PAYLOAD,
                    "context": {"user": "app", "session_tenant": "acme"}})
ASK = "SELECT allow FROM somamem.authorize('%s');\n" % INPUT
REFUSALS = """
CREATE FUNCTION bench_refusals(payload jsonb, n int) RETURNS SETOF double precision LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    took interval;
BEGIN
    FOR i IN 1 .. n LOOP
        began := clock_timestamp();
        BEGIN
            PERFORM somamem.memory_write(payload);
            RAISE EXCEPTION 'the write was not refused';
        EXCEPTION WHEN SQLSTATE '58000' THEN
            took := clock_timestamp() - began;
        END;
        RETURN NEXT extract(epoch FROM took) * 1000;
    END LOOP;
END
$$"""


def choose(rig, name, **values):
    """Sets, and waits until sessions that begin now have it: the postmaster reads it before others do."""
    rig.set(**values)
    for setting, value in values.items():
        wait_until(lambda: rig.on(name).one("SHOW " + setting.replace("__", ".")) == value, 10, "no reload")


def rate(rig, name, engine, connections, tenants):
    choose(rig, name, somamem__policy=engine)
    out = rig.pgbench(name, rig.script("policy_write", WRITE), "-c", connections, "-j", min(connections, 2),
                      "-T", SECONDS, "-D", "tenants=%d" % tenants,
                      "-D", "payload=" + json.dumps({n: v for n, v in PAYLOAD.items() if n != "tenant"}))
    return float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))


def compare(rig, name, connections, rounds, tenants=1):
    """Rates of each round; who goes first takes turns, too."""
    sides = {"off": [], "builtin": []}
    rig.on(name).ask("TRUNCATE somamem.outbox, somamem.idempotency")
    rig.on(name).ask("CHECKPOINT")
    rate(rig, name, "off", connections, tenants)
    for n in range(rounds * TURNS):
        for engine in sorted(sides, reverse=n % 2 == 0):
            sides[engine].append(rate(rig, name, engine, connections, tenants))
    return sides["builtin"], sides["off"]


def decision(rig, name, engine="builtin"):
    """p50 and p99 in microseconds."""
    return [float(ms) * 1000 for ms in rig.on(name).ask(
        "SELECT p50_ms, p99_ms FROM somamem.policy_stats"
        " WHERE action = 'memory.write' AND decision = 'allow' AND engine = '%s'" % engine)[0]]


def builtin(rig, table, name, rounds):
    choose(rig, name, somamem__rate_limit_per_minute=LIMIT)
    for connections, tenants in ((1, 1), (8, 1), (64, 1), (64, TENANTS)):
        ours, off = compare(rig, name, connections, rounds, tenants)
        what = "memory_write, policy = builtin beside off, %d connection%s%s" % (
            connections, "s" if connections > 1 else "", ", %d tenants" % tenants if tenants > 1 else "")
        table.add("policy", what, median(ours), "rows/s", ours, median(off), off,
                  median([a / b for a, b in zip(ours, off)]), least=0.9, of="ratio")
        if connections == 1:
            p50, p99 = decision(rig, name)
            table.add("policy", "built-in decision inside memory_write, by policy_stats, p50", p50, "us", most=5)
            table.add("policy", "built-in decision inside memory_write, by policy_stats, p99", p99, "us")
    choose(rig, name, synchronous_commit="off")
    ours, off = compare(rig, name, 1, rounds)
    differences = [1e6 / a - 1e6 / b for a, b in zip(ours, off)]
    table.add("policy", "built-in decision, by difference, 1 connection, synchronous_commit = off",
              median(differences), "us", differences)
    choose(rig, name, synchronous_commit="on")


class Opa:
    def __init__(self):
        self.url = "http://127.0.0.1:%d" % free_port()
        rules = [path for path in sorted((ROOT / "policy").glob("*.rego")) if not path.name.endswith("_test.rego")]
        self.process = subprocess.Popen(
            [OPA, "run", "--server", "--addr", self.url[len("http://"):], "--log-level", "error",
             "--skip-version-check", *rules], stdout=(WORK / "opa.log").open("w"), stderr=subprocess.STDOUT)
        wait_until(lambda: self.answers() or self.process.poll() is not None, 20, "OPA does not answer")

    def answers(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + "/health", timeout=1):
            return True
        return False

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        self.process.kill()
        self.process.wait(10)


def bare_calls(opa):
    """Milliseconds of each call of a client that asks OPA itself."""
    out = subprocess.run([BUILD / "ask", "-p", opa.url.rsplit(":", 1)[1], "-u", "/v1/data/soma/policy/allow",
                          "-b", '{"input": %s}' % INPUT, "-c", str(SESSIONS), "-s", "2"],
                         capture_output=True, text=True, check=True).stdout
    return [int(line) / 1000 for line in out.split()]


def calls(rig, name, *options):
    """Milliseconds of each call of authorize by SESSIONS sessions."""
    prefix = WORK / "policy_calls"
    for old in WORK.glob(prefix.name + ".*"):
        old.unlink()
    rig.pgbench(name, rig.script("policy_ask", ASK), "-c", SESSIONS, "-j", 2, "--log", "--log-prefix", prefix,
                *options)
    lines = [list(map(int, line.split())) for log in WORK.glob(prefix.name + ".*")
             for line in log.read_text().splitlines()]
    # At a pace, the time from when the call was due; the seventh column is how late it began.
    return [(line[2] - (line[6] if len(line) > 6 else 0)) / 1000 for line in lines]


def circuit(rig, name):
    return rig.on(name).one("SELECT coalesce((SELECT circuit FROM somamem.workers WHERE sink = 'policy'), 'none')")


def wait_circuit(rig, name, state):
    wait_until(lambda: circuit(rig, name) == state, 20, "the circuit is not " + state)


def allowed(rig, name):
    return rig.on(name).one("SELECT allow FROM somamem.authorize('%s')" % INPUT) == "t"


def add_shares(table, what, played, limits, bare=()):
    for share, label in ((0.5, "p50"), (0.99, "p99"), (1, "longest")):
        if label in limits:
            most = median if share < 1 else max
            values = [percentile(took, share) for took in played]
            beside = [percentile(took, share) for took in bare]
            table.add("policy", "%s, %s" % (what, label), most(values), "ms", values,
                      most(beside) if beside else None, beside, most=limits[label])


def with_opa(rig, table, name, rounds, opa):
    longest = TIMEOUT_MS + 10
    choose(rig, name, somamem__opa_url=opa.url, somamem__policy="opa", somamem__opa_timeout="%dms" % TIMEOUT_MS)
    wait_until(lambda: allowed(rig, name), 20, "OPA allows nothing")
    calls(rig, name, "-T", 1)
    add_shares(table, "decision of OPA, %d sessions, %d a second" % (SESSIONS, PACE),
               [calls(rig, name, "-T", 2, "-R", PACE) for _ in range(rounds)], {"p50": 1, "p99": 5})
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(bare_calls(opa))
        ours.append(calls(rig, name, "-T", 2))
    add_shares(table, "decision of OPA, %d sessions without a pause" % SESSIONS, ours,
               {"p50": 1, "p99": 5, "longest": longest}, bare)
    table.add("policy", "decisions of OPA, %d sessions without a pause" % SESSIONS,
              median([len(took) / 2 for took in ours]), "per s", [len(took) / 2 for took in ours],
              median([len(took) / 2 for took in bare]), [len(took) / 2 for took in bare])
    for share, ms in zip(("p50", "p99"), decision(rig, name, "opa")):
        table.add("policy", "decision of OPA, all of these calls, by policy_stats, " + share, ms / 1000, "ms")
    hung = []
    for _ in range(rounds):
        opa.signal(signal.SIGSTOP)
        hung.append(calls(rig, name, "-t", 1))
        opa.signal(signal.SIGCONT)
        wait_until(lambda: allowed(rig, name), 20, "OPA is not asked again")
    add_shares(table, "OPA hangs: refusal, %d sessions" % SESSIONS, hung, {"longest": longest})
    opa.end()
    wait_circuit(rig, name, "open")
    add_shares(table, "OPA killed, circuit open: refusal by authorize, %d sessions" % SESSIONS,
               [calls(rig, name, "-T", 1) for _ in range(rounds)], {"p50": 1, "p99": None})
    rig.on(name).ask(REFUSALS)
    add_shares(table, "OPA killed, circuit open: refusal by memory_write, 1 session",
               [[float(row[0]) for row in rig.on(name).ask("SELECT * FROM bench_refusals('%s', 2000)"
                                                           % json.dumps(PAYLOAD))] for _ in range(rounds)],
               {"p50": 1, "p99": 1})


def policy(rig, table, rounds):
    rig.set(autovacuum="off")
    with rig.database() as name:
        rig.wait_workers(name)
        try:
            builtin(rig, table, name, rounds)
            if not OPA.exists():
                print("  skip: no Open Policy Agent (test/setup/install.sh test builds it)", flush=True)
                return
            opa = Opa()
            try:
                with_opa(rig, table, name, rounds, opa)
            finally:
                opa.end()
        finally:
            choose(rig, name, somamem__policy="builtin")
            rig.set(synchronous_commit="on", autovacuum="on", somamem__opa_timeout="1s",
                    somamem__rate_limit_per_minute="0")
