"""What every part of the benchmark stands on.

A private PostgreSQL out of build/stage, the SomaBrain stand-in, a Kafka, and
the few ways in which parts touch them: SQL, settings, pgbench, /proc.
Everything that is started here is ended by Rig.stop, also after a failure.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(os.path.abspath(__file__)).parent.parent
BUILD = ROOT / "build" / "bench"
WORK = BUILD / "work"
STANDIN = ROOT / "build" / "standin"
SINKS = ("somabrain", "kafka")
SESSIONS = 1000
BATCH = 500
TICKS = os.sysconf("SC_CLK_TCK")

# A payload of some 300 bytes, as jsonb text; turn and session vary.
PAYLOAD = {
    "type": "message", "role": "user", "tenant": "acme", "session_id": "session-17",
    "persona_id": "persona-3",
    "content": "I went to the support group yesterday and it was so powerful; "
               "the stories that people told were inspiring.",
    "metadata": {"channel": "web", "language": "en", "importance": 0.5},
}


class Session:
    """One psql that stays connected, so that asking costs no new process."""

    def __init__(self, rig, database):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database],
            env=rig.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, sql):
        """The rows of a statement, each a list of texts."""
        self.process.stdin.write(sql + ";\n\\echo =end=\n")
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            if line == "=end=\n":
                return rows
            rows.append(line.rstrip("\n").split("|"))
        raise RuntimeError("psql ended over: " + sql[:200])

    def one(self, sql):
        return self.ask(sql)[0][0]

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class Rig:
    def __init__(self):
        self.env = dict(os.environ)
        self.brain = None
        self.sessions = {}
        self.serial = 0
        self.settings = {}
        self.kafka_kind = None

    # --- starting and stopping ------------------------------------------------

    def build(self):
        BUILD.mkdir(parents=True, exist_ok=True)
        log = BUILD / "build.log"
        with log.open("w") as out:
            for command in ([ROOT / "test/setup/install.sh", "test"], [ROOT / "test/setup/stage.sh"],
                            ["make", "-s", "-C", ROOT / "test/standin"],
                            ["make", "-s", "-C", ROOT / "bench", "ROOT=%s" % ROOT]):
                if subprocess.run(command, stdout=out, stderr=out).returncode != 0:
                    raise SystemExit("the build failed, see " + str(log))

    def start(self):
        self.clear()
        WORK.mkdir(parents=True)
        self.start_server()
        self.start_kafka()
        self.start_brain()

    def clear(self):
        """Ends what an interrupted run left, and deletes it."""
        if (WORK / "brain.pid").exists():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((WORK / "brain.pid").read_text()), 15)
        if (WORK / "kafka").exists():
            tool("kafka.sh", "stop", WORK / "kafka", check=False)
        if (WORK / "pg").exists():
            tool("server.sh", "remove", WORK / "pg", check=False)
        shutil.rmtree(WORK, ignore_errors=True)

    def stop(self):
        for session in self.sessions.values():
            with contextlib.suppress(Exception):
                session.close()
        self.sessions = {}
        if self.brain and self.brain.poll() is None:
            self.brain.terminate()
            self.brain.wait(10)
        self.clear()

    def start_server(self, *more):
        tool("server.sh", "start", WORK / "pg", "shared_buffers=512MB", "max_wal_size=8GB",
             "checkpoint_timeout=30min", "log_min_messages=warning", "somamem.rate_limit_per_minute=0", *more)
        for line in tool("server.sh", "env", WORK / "pg").split("export ")[1:]:
            for name, value in re.findall(r"(\w+)='?([^' ]+)'?", line):
                self.env[name] = value.replace("$PATH", self.env["PATH"])
        self.env["PATH"] = self.env["PATH"].replace(":$PATH", "")
        self.data = pathlib.Path(tool("server.sh", "where", WORK / "pg").strip()) / "data"

    def restart_server(self, *more):
        """With further settings, NAME=VALUE each, until it is restarted without."""
        for session in self.sessions.values():
            session.close()
        self.sessions = {}
        tool("server.sh", "stop", WORK / "pg")
        self.start_server(*more)

    def start_kafka(self):
        folder = WORK / "kafka"
        real = os.environ.get("KAFKA") != "mock" and \
            subprocess.run([ROOT / "test/lib/kafka.sh", "available"]).returncode == 0
        answer = tool("kafka.sh", "start", folder, check=False) if real else None
        self.kafka_kind = "Apache Kafka (KRaft), one node"
        if not answer:
            shutil.rmtree(folder, ignore_errors=True)
            answer = tool("kafka.sh", "mock", folder)
            self.kafka_kind = "librdkafka's mock broker, as no real Kafka can run here"
        self.brokers = answer.split()[1]
        # A Java that has just started would be slow for whoever comes first.
        for rate in ((), ("-r", "500")):
            subprocess.run([BUILD / "producer", "-b", self.brokers, "-n", "1500" if rate else "100000", *rate],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_brain(self):
        self.brain = subprocess.Popen([STANDIN / "somabrain", "--no-values"], stdout=subprocess.PIPE,
                                      stderr=(WORK / "brain.log").open("w"), text=True)
        (WORK / "brain.pid").write_text(str(self.brain.pid))
        _, port, _, control = self.brain.stdout.readline().split()
        self.brain_url = "http://127.0.0.1:" + port
        self.control_url = "http://127.0.0.1:%s/_control" % control

    def restart_brain(self):
        """A stand-in that remembers no keys; on another port, so the sink's address changes."""
        self.brain.terminate()
        self.brain.wait(10)
        self.start_brain()

    def brain_says(self, **members):
        request = urllib.request.Request(self.control_url, json.dumps(members).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    # --- SQL --------------------------------------------------------------------

    def on(self, database="postgres"):
        if database not in self.sessions:
            self.sessions[database] = Session(self, database)
        return self.sessions[database]

    def set(self, **values):
        """Settings by ALTER SYSTEM and a reload; somamem's are named with two underscores for the dot."""
        changed = {n.replace("__", "."): v for n, v in values.items()}
        changed = {n: v for n, v in changed.items() if self.settings.get(n) != v}
        for name, value in changed.items():
            self.on().ask("ALTER SYSTEM SET %s = '%s'" % (name, value))
        if changed:
            self.on().ask("SELECT pg_reload_conf()")
            self.settings.update(changed)

    def sinks(self, *names):
        """Switches on the named sinks, and the others off."""
        self.set(somamem__somabrain_url=self.brain_url if "somabrain" in names else "",
                 somamem__kafka_brokers=self.brokers if "kafka" in names else "")

    @contextlib.contextmanager
    def database(self):
        """A database of its own with the extension, and batches to write from; dropped in the end."""
        self.serial += 1
        name = "bench%d" % self.serial
        self.on().ask("CREATE DATABASE " + name)
        db = self.on(name)
        db.ask("CREATE EXTENSION somamem")
        db.ask("""CREATE TABLE bench_batch AS SELECT b AS n, (SELECT jsonb_agg('%s'::jsonb
            || jsonb_build_object('session_id', 'session-' || (b * %d + g) %% %d, 'turn', b * %d + g) ORDER BY g)
            FROM generate_series(1, %d) AS g) AS payloads FROM generate_series(0, 3) AS b"""
               % (json.dumps(PAYLOAD), BATCH, SESSIONS, BATCH, BATCH))
        try:
            yield name
        finally:
            self.sessions.pop(name).close()
            self.on().ask("DROP DATABASE %s WITH (FORCE)" % name)

    # --- load -------------------------------------------------------------------

    def script(self, name, text):
        path = WORK / (name + ".sql")
        path.write_text(text)
        return path

    def pgbench(self, database, script, *options):
        return subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-f", script, *map(str, options), database],
            env=self.env, capture_output=True, text=True, check=True, cwd=WORK).stdout

    def fill(self, database, rows):
        """Commits rows, BATCH at a time, over two connections."""
        script = self.script("fill", "\\set n random(0, 3)\nSELECT count(*) FROM bench_batch, "
                             "somamem.memory_write_batch(payloads) WHERE n = :n;\n")
        per_client = max(1, rows // BATCH // 2)
        self.pgbench(database, script, "-c", 2, "-j", 2, "-t", per_client)
        return per_client * 2 * BATCH

    def delivered(self, database, sink):
        return int(self.on(database).one(
            "SELECT coalesce(sum(rows), 0) FROM somamem.shipment WHERE sink = '%s'" % sink))

    def wait_delivered(self, database, sink, rows, seconds=300):
        wait_until(lambda: self.delivered(database, sink) >= rows, seconds,
                   "%s did not get its %d rows" % (sink, rows))

    def wait_idle(self, database, seconds=300):
        """Until no enabled sink owes anything."""
        wait_until(lambda: self.on(database).one(
            "SELECT count(*) FROM somamem.outbox_status WHERE pending IS DISTINCT FROM 0") == "0", seconds, "rows stay pending")

    def workers(self, database):
        """Process ids of the database's running shippers and couriers: {sink: (shipper, courier)}."""
        return {sink: (int(pid), int(courier)) for sink, pid, courier in self.on(database).ask(
            "SELECT sink, pid, courier_pid FROM somamem.workers WHERE database = '%s'"
            " AND pid IS NOT NULL AND courier_pid IS NOT NULL" % database)}

    def wait_workers(self, database, *sinks):
        wait_until(lambda: set(self.workers(database)) == set(sinks), 30,
                   "the workers of %s are not all running" % ", ".join(sinks or ("no sink",)))
        return self.workers(database)


def tool(name, *arguments, check=True):
    result = subprocess.run([ROOT / "test/lib" / name, *map(str, arguments)], capture_output=True, text=True)
    if check and result.returncode != 0:
        raise SystemExit("%s failed: %s" % (name, result.stderr))
    return result.stdout if result.returncode == 0 else ""


def wait_until(claim, seconds, complaint):
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise RuntimeError("%s within %d s" % (complaint, seconds))
        time.sleep(0.05)


def cpu_seconds(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid):
    """Named figures of /proc/PID/status, in MiB."""
    found = re.findall(r"^(VmHWM|VmRSS|RssAnon|RssShmem|RssFile):\s+(\d+) kB",
                       pathlib.Path("/proc/%d/status" % pid).read_text(), re.M)
    return {name: int(kb) / 1024 for name, kb in found}


def median(values):
    return statistics.median(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
