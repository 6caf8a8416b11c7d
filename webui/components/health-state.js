/*
 * What a health document means, in words; without a browser, so that a test can call it.
 */

export const RANK = { ok: 0, degraded: 1, critical: 2, unreachable: 2 };
export const WORDS = { ok: "OK", degraded: "Degraded", critical: "Critical",
	unreachable: "Unreachable" };
const STATE_OF = { off: "ok", ok: "ok", degraded: "degraded", down: "critical" };
export const DEFAULTS = {
	interval: 30,
	timeout: 5,
	"lag-warning": 10,
	"lag-critical": 30,
	"pending-warning": 50,
	"pending-critical": 100,
};
const NAMES = {
	postgres: "PostgreSQL",
	somabrain: "SomaBrain",
	kafka: "Kafka",
	memory_wal_lag: "Lag",
	memory_write_outbox: "Backlog",
	memory_dlq: "Dead letters",
	policy: "Policy",
};
const ERROR_LENGTH = 300;
/* While nothing is later than this, a backlog is a burst in flight. */
const BURST_SECONDS = 1;

export function worse(a, b)
{
	return RANK[b] > RANK[a] ? b : a;
}

/* A number that makes no sense here is the default's; a delay has to pass some time. */
export function readSetting(name, text)
{
	const value = text === null || text.trim() === "" ? NaN : Number(text);
	const least = name === "interval" || name === "timeout" ? 1 : 0;
	return value >= least && value < 1e6 ? value : DEFAULTS[name];
}

function isRecord(value)
{
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

/* Whether an answer's JSON is a health document as far as anything here relies on it. */
export function isDocument(value)
{
	if (!isRecord(value) || !["ok", "degraded", "down"].includes(value.status) ||
		!isRecord(value.components))
		return false;
	const { memory_wal_lag: lag, memory_write_outbox: outbox } = value.components;
	return Object.values(value.components).every((part) => isRecord(part) &&
			Object.hasOwn(STATE_OF, part.status)) &&
		Number.isFinite(lag?.lag_seconds) && Number.isFinite(outbox?.pending);
}

/* What came back, as {document, status}, or {document: null, reason}. */
export function readAnswer(status, text)
{
	let value;
	if (status !== 200 && status !== 503)
		return { document: null, reason: `The server answered ${status}.` };
	try {
		value = JSON.parse(text);
	} catch {
		return { document: null, reason: "The answer is not JSON." };
	}
	if (!isDocument(value))
		return { document: null, reason: "The answer is not a health document." };
	return { document: value, status };
}

function judgeValue(value, warning, critical)
{
	return value > critical ? "critical" : value > warning ? "degraded" : "ok";
}

export function sayDuration(seconds)
{
	if (seconds < 9.95)
		return `${Number(seconds.toFixed(1))} s`;
	if (seconds < 120)
		return `${Math.round(seconds)} s`;
	return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function sayLimit(level, settings, name, unit)
{
	const edge = level === "critical" ? "critical" : "warning";
	return level === "ok" ? "" : ` (${edge} above ${settings[`${name}-${edge}`]}${unit})`;
}

function shorten(text)
{
	return text.length > ERROR_LENGTH ? `${text.slice(0, ERROR_LENGTH)}…` : text;
}

/* The figures of a component, in words. */
export function sayFigures(name, part)
{
	const words = [];
	const note = (value, say) => {
		if (typeof value === "number" || (typeof value === "string" && value !== ""))
			words.push(say(value));
	};
	note(part.engine, (v) => `engine ${v}`);
	note(part.circuit, (v) => `circuit ${v}`);
	note(part.pending, (v) => `${v} waiting`);
	note(part.oldest_pending_seconds, (v) => `oldest ${sayDuration(v)}`);
	note(part.retrying, (v) => `${v} retrying`);
	note(part.failed, (v) => `${v} dead`);
	note(part.lag_seconds, (v) => `${sayDuration(v)} late`);
	note(part.depth, (v) => `${v} kept`);
	note(part.last_error, (v) => `last error: ${shorten(v)}`);
	if (words.length === 0 && part.status === "off")
		return "switched off";
	return words.join(", ");
}

export function nameOf(component)
{
	return NAMES[component] ?? component;
}

/* The components in the order of a memory's way, and after them those not known here. */
export function listComponents(health)
{
	const known = Object.keys(NAMES).filter((name) => Object.hasOwn(health.components, name));
	const others = Object.keys(health.components).filter((name) => !Object.hasOwn(NAMES, name));
	return [...known, ...others].map((name) => ({ name, part: health.components[name] }));
}

/* Lag and backlog are judged twice, by the server and by the thresholds given here. */
function judgeComponent(name, part, lagSeconds, settings)
{
	const stated = STATE_OF[part.status];
	if (name === "memory_wal_lag") {
		const own = judgeValue(lagSeconds, settings["lag-warning"], settings["lag-critical"]);
		return { level: worse(stated, own), text: `Lag: the oldest memory is ` +
			`${sayDuration(lagSeconds)} late${sayLimit(own, settings, "lag", " s")}` };
	}
	if (name === "memory_write_outbox") {
		const own = lagSeconds > BURST_SECONDS ? judgeValue(part.pending,
			settings["pending-warning"], settings["pending-critical"]) : "ok";
		return { level: worse(stated, own), text: `Backlog: ${part.pending} memories wait` +
			sayLimit(own, settings, "pending", "") };
	}
	const figures = sayFigures(name, part);
	return { level: stated,
		text: `${nameOf(name)} is ${part.status}${figures === "" ? "" : `: ${figures}`}` };
}

/*
 * What an answer means: {state, summary, problems}; problems are {component, level, text}, the
 * worst first.  An answer of 503 is critical whatever stands in it.
 */
export function judge(answer, settings)
{
	const { document: health } = answer;
	if (health === null)
		return { state: "unreachable", summary: answer.reason,
			problems: [{ component: "server", level: "unreachable",
				text: `${answer.reason} What is shown elsewhere may be old.` }] };
	const lag = health.components.memory_wal_lag.lag_seconds;
	const stated = answer.status === 503 ? "critical" : STATE_OF[health.status];
	const problems = listComponents(health)
		.map(({ name, part }) =>
			({ component: name, ...judgeComponent(name, part, lag, settings) }))
		.filter(({ level }) => level !== "ok")
		.sort((a, b) => RANK[b.level] - RANK[a.level]);
	const found = problems.reduce((state, { level }) => worse(state, level), "ok");
	if (RANK[stated] > RANK[found])
		problems.unshift({ component: "server", level: stated,
			text: `The server says that it is ${health.status}` +
				(answer.status === 503 ? " (it answered 503)" : "") });
	return { state: worse(stated, found), problems, summary: problems[0]?.text ??
		`${sayDuration(lag)} late, ${health.components.memory_write_outbox.pending} waiting` };
}

/*
 * The state that stays dismissed, or null.  A dismissal holds for the same state and follows it
 * down; what is worse, or bad in another way, comes back, and so does what got well meanwhile.
 */
export function keepDismissed(dismissed, state)
{
	if (dismissed === null || state === "ok")
		return null;
	return state === dismissed || RANK[state] < RANK[dismissed] ? state : null;
}

/* Looks begin in step, however long each takes. */
export function delayToNext(started, now, interval)
{
	return Math.min(Math.max(started + interval * 1000 - now, 0), interval * 1000);
}

export function sayTime(date)
{
	return [date.getHours(), date.getMinutes(), date.getSeconds()]
		.map((part) => String(part).padStart(2, "0")).join(":");
}
