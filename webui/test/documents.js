/* Health documents as the server writes them, for tests to change. */

export const SETTINGS = { interval: 30, timeout: 5, "lag-warning": 10, "lag-critical": 30,
	"pending-warning": 50, "pending-critical": 100 };

/* parts: what differs, by component; "status" is that of the whole. */
export function health(parts = {}, status = "ok")
{
	const components = {
		postgres: { status: "ok" },
		somabrain: { status: "ok", circuit: "closed", pending: 0 },
		kafka: { status: "ok", circuit: "closed", pending: 0 },
		memory_write_outbox: { status: "ok", pending: 0, failed: 0, retrying: 0,
			oldest_pending_seconds: 0 },
		memory_wal_lag: { status: "ok", lag_seconds: 0 },
		memory_dlq: { status: "ok", depth: 0 },
		policy: { status: "ok", engine: "builtin" },
	};
	for (const [name, changes] of Object.entries(parts))
		components[name] = { ...components[name], ...changes };
	return { status, version: "1.0", database: "app", components };
}

export function lagging(seconds, pending = 0)
{
	return health({ memory_wal_lag: { lag_seconds: seconds },
		memory_write_outbox: { pending, oldest_pending_seconds: seconds } });
}

export const DOWN = health({
	somabrain: { status: "degraded", circuit: "open", pending: 240,
		last_error: "could not connect to 127.0.0.1 port 9696: Connection refused" },
	memory_wal_lag: { status: "down", lag_seconds: 42.25 },
	memory_write_outbox: { status: "down", pending: 240, oldest_pending_seconds: 42.25 },
}, "down");

export const DEGRADED = health({
	somabrain: { status: "degraded", circuit: "open", pending: 12,
		last_error: "HTTP status 503" },
	memory_write_outbox: { pending: 12, oldest_pending_seconds: 4.2 },
	memory_wal_lag: { lag_seconds: 4.2 },
}, "degraded");
