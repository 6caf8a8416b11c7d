"""What it takes to look: /metrics and /v1/health with many tenants and a long backlog, and beside idle and slow clients.

One client asks over one connection that stays open, as Prometheus does.  The
backlog is Kafka's, which is away meanwhile.
"""
import http.client
import socket
import time

from rig import median, percentile, wait_until

TENANTS = 1000
BACKLOG = 1000000
NOBODY = "127.0.0.1:1"
CALLS = 1000
IDLE = 500
SLOW = 100
BATCHES = """
SELECT count(w.id) FROM generate_series(%d, %d) AS b, LATERAL (SELECT jsonb_agg(jsonb_build_object('type', 'm',
    'role', 'user', 'content', 'x', 'tenant', 'tenant-' || (b * 500 + g) %% %d, 'session_id', 's')) AS payloads
    FROM generate_series(1, 500) AS g) AS p, somamem.memory_write_batch(p.payloads) AS w"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ask(port, path, calls=CALLS, **headers):
    """Milliseconds of each call, and the length of the last answer."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        client.request("GET", path, headers=headers)
        body = client.getresponse().read()
        took.append((time.perf_counter() - began) * 1000)
    client.close()
    return took, len(body)


def crowd(port):
    """Connections that say nothing, and such as say a byte now and then."""
    clients = []
    for i in range(IDLE + SLOW):
        client = socket.create_connection(("127.0.0.1", port))
        client.send(b"" if i < IDLE else b"GET /metrics HT")
        clients.append(client)
    return clients


def write_backlog(rig, name, rows):
    db = rig.on(name)
    step = 100
    for batch in range(0, rows // 500, step):
        db.ask(BATCHES % (batch, batch + step - 1, TENANTS))


def add(table, what, rounds, most=None, beside=None):
    for share in (0.5, 0.99):
        values = [percentile(took, share) for took in rounds]
        table.add("scrape", "%s, p%d" % (what, share * 100), median(values), "ms", values,
                  median([percentile(took, share) for took in beside]) if beside else None,
                  most=most if share == 0.99 else None)


def scrape(rig, table, rounds):
    port = free_port()
    rig.restart_server("somamem.metrics_listen=127.0.0.1:%d" % port)
    try:
        with rig.database() as name:
            rig.set(somamem__kafka_brokers=NOBODY)
            rig.wait_workers(name, "kafka")
            write_backlog(rig, name, BACKLOG)
            wait_until(lambda: rig.on(name).one("SELECT pending >= %d FROM somamem.outbox_status" % BACKLOG) == "t",
                       60, "the backlog is not seen")
            played = {}
            for _ in range(rounds):
                for path in ("/metrics", "/v1/health"):
                    took, size = ask(port, path)
                    played.setdefault(path, []).append(took)
                    played.setdefault(path + " size", []).append(size)
                played.setdefault("gzip", []).append(ask(port, "/metrics", **{"Accept-Encoding": "gzip"})[0])
                clients = crowd(port)
                played.setdefault("crowd", []).append(ask(port, "/metrics")[0])
                for client in clients:
                    client.close()
            what = "%d tenants, %d pending" % (TENANTS, BACKLOG)
            add(table, "/metrics (%d kB), %s" % (played["/metrics size"][0] // 1000, what), played["/metrics"], 5)
            add(table, "/metrics with gzip, " + what, played["gzip"])
            add(table, "/metrics beside %d idle and %d slow connections, and without them" % (IDLE, SLOW),
                played["crowd"], beside=played["/metrics"])
            add(table, "/v1/health, " + what, played["/v1/health"], 2)
            rig.sinks()
            rig.wait_workers(name)
    finally:
        rig.restart_server()
