"""A thousand sessions at once, each a connection of its own: behind PgBouncer, and without.

Every connection writes once a second.  PgBouncer is a private instance that
pools by transaction, as deployments have it.  From commit to acknowledgement
as in part_latency; every id that a client was given must be at both sinks.
"""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from part_latency import acknowledged
from rig import BUILD, SINKS, median, percentile, wait_until

CONNECTIONS = 1000
RATE = 1000
SECONDS = 30
WARM_SECONDS = 3
POOL = 40
PGBOUNCER = "/usr/sbin/pgbouncer"
SHARES = ((0.5, 100), (0.95, 500), (0.99, None))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def pgbouncer(rig):
    """A pool in front of the rig's server, in a folder of its own; gives its port."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="somamem.", dir="/var/tmp"))
    port = free_port()
    (folder / "pgbouncer.ini").write_text(
        "[databases]\n* = host=%s port=%s user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
        "unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = %d\n"
        "max_client_conn = %d\nlogfile = %s\n" % (
            rig.env["PGHOST"], rig.env["PGPORT"], rig.env["PGUSER"], port, POOL, CONNECTIONS + 100,
            folder / "log"))
    command = [PGBOUNCER, "-q", folder / "pgbouncer.ini"]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        folder.chmod(0o755)
        command[1:1] = ["-u", "postgres"]
    pool = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port) or pool.poll() is not None, 10, "PgBouncer does not listen")
        yield port
    finally:
        pool.terminate()
        pool.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def pace(rig, conninfo, seconds):
    out = subprocess.run(
        [BUILD / "pace", "-u", "-d", conninfo, "-s", str(seconds), "-c", str(CONNECTIONS), "-r", str(RATE),
         "-C", "0", "-R", "0"], env=rig.env, capture_output=True, text=True, check=True).stdout
    return [(int(row), int(at)) for row, at, _ in map(str.split, out.splitlines())]


def one_round(rig, port=None):
    """{what: milliseconds of each row}, writes a second, and how many ids are missing at a sink."""
    with rig.database() as name:
        conninfo = "dbname=" + name + (" host=127.0.0.1 port=%d" % port if port else "")
        rig.sinks(*SINKS)
        rig.wait_workers(name, *SINKS)
        pace(rig, conninfo, WARM_SECONDS)
        rig.wait_idle(name)
        written = pace(rig, conninfo, SECONDS)
        rig.wait_idle(name)
        took, lost = {}, 0
        for sink in SINKS:
            at_sink = acknowledged(rig, name, sink)
            lost += sum(row not in at_sink for row, _ in written)
            took[sink] = [max(0, at_sink[row] - at) / 1000 for row, at in written if row in at_sink]
        rate = len(written) / (max(at for _, at in written) - min(at for _, at in written)) * 1e6
        rig.sinks()
        rig.wait_workers(name)
    if lost:
        raise RuntimeError("%d acknowledged writes are missing at a sink" % lost)
    return took, rate, lost


def add(table, how, played):
    what = "%d sessions %s" % (CONNECTIONS, how)
    rates = [rate for _, rate, _ in played]
    table.add("sessions", what + ", writes reached", median(rates), "rows/s", rates)
    table.add("sessions", what + ", acknowledged and missing at a sink", sum(lost for _, _, lost in played), "rows")
    for sink in SINKS:
        for share, most in SHARES:
            values = [percentile(took[sink], share) for took, _, _ in played]
            table.add("sessions", "%s, commit to acknowledgement by %s, p%d" % (what, sink, share * 100),
                      median(values), "ms", values, most=most)


def sessions(rig, table, rounds):
    rig.restart_server("max_connections=%d" % (CONNECTIONS + 100))
    try:
        with pgbouncer(rig) as port:
            add(table, "through PgBouncer (%d in its pool)" % POOL, [one_round(rig, port) for _ in range(rounds)])
        add(table, "connected directly", [one_round(rig)])
    finally:
        rig.restart_server()
