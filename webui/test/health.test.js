/* What a health document means: the functions that decide, without a browser. */
import assert from "node:assert/strict";
import test from "node:test";
import { delayToNext, isDocument, judge, keepDismissed, listComponents, readAnswer, readSetting,
	sayDuration, sayFigures, sayTime, worse } from "../components/health-state.js";
import { DEGRADED, DOWN, SETTINGS, health, lagging } from "./documents.js";

function judged(document, { status = 200, ...settings } = {})
{
	return judge({ document, status }, { ...SETTINGS, ...settings });
}

test("a value is judged only above its threshold", () => {
	const cases = [
		[0, 0, "ok"], [10, 0, "ok"], [10.001, 0, "degraded"], [30, 0, "degraded"],
		[30.001, 0, "critical"],
		[2, 50, "ok"], [2, 51, "degraded"], [2, 100, "degraded"], [2, 101, "critical"],
		[1, 5000, "ok"], [1.001, 5000, "critical"], [0, 5000, "ok"],
		[11, 101, "critical"], [31, 51, "critical"],
	];
	for (const [lag, pending, state] of cases)
		assert.equal(judged(lagging(lag, pending)).state, state, `lag ${lag}, pending ${pending}`);
});

test("thresholds are those that are given", () => {
	assert.equal(judged(lagging(3), { "lag-warning": 2 }).state, "degraded");
	assert.equal(judged(lagging(3), { "lag-critical": 2 }).state, "critical");
	assert.equal(judged(lagging(2, 5), { "pending-warning": 4 }).state, "degraded");
	assert.equal(judged(lagging(2, 5), { "pending-critical": 4 }).state, "critical");
	assert.equal(judged(lagging(0.5), { "lag-warning": 0 }).state, "degraded");
	assert.equal(judged(lagging(20, 80), { "lag-warning": 60, "lag-critical": 60,
		"pending-warning": 500, "pending-critical": 500 }).state, "ok");
});

test("the server's word counts as much as the thresholds", () => {
	assert.equal(judged(health({}, "degraded")).state, "degraded");
	assert.equal(judged(health({}, "down")).state, "critical");
	assert.equal(judged(health({ kafka: { status: "down" } })).state, "critical");
	assert.equal(judged(health({ kafka: { status: "degraded" } })).state, "degraded");
	assert.equal(judged(health({ kafka: { status: "off" } })).state, "ok");
	assert.equal(judged(health({ memory_wal_lag: { status: "down", lag_seconds: 1 } })).state,
		"critical", "a server with stricter thresholds");
	assert.equal(judged(lagging(31), { status: 200 }).state, "critical",
		"a server with milder thresholds");
	assert.equal(judged(health(), { status: 503 }).state, "critical", "503 is critical");
});

test("503 with a document is critical, other trouble is unreachable", () => {
	assert.deepEqual(readAnswer(503, JSON.stringify(DOWN)), { document: DOWN, status: 503 });
	assert.equal(judge(readAnswer(503, JSON.stringify(DOWN)), SETTINGS).state, "critical");
	for (const [status, text, why] of [
		[503, "upstream is away", /not JSON/], [200, "", /not JSON/],
		[200, "null", /not a health document/],
		[404, JSON.stringify(health()), /answered 404/], [500, "{}", /answered 500/],
		[200, "{}", /not a health document/],
	]) {
		const answer = readAnswer(status, text);
		assert.equal(answer.document, null, text);
		assert.match(answer.reason, why);
		assert.equal(judge(answer, SETTINGS).state, "unreachable");
		assert.match(judge(answer, SETTINGS).problems[0].text, why);
	}
});

test("what is not shaped like the contract is no document", () => {
	assert.ok(isDocument(health()));
	assert.ok(isDocument(health({ something_new: { status: "ok" } })));
	const wrong = [
		null, [], "ok", 1, { status: "ok" }, { ...health(), status: "fine" },
		{ ...health(), components: [] }, { ...health(), components: null },
		health({ memory_wal_lag: { lag_seconds: "4" } }),
		health({ memory_wal_lag: { lag_seconds: null } }),
		health({ memory_write_outbox: { pending: undefined } }),
		health({ kafka: { status: "constructor" } }), health({ kafka: { status: 1 } }),
		{ ...health(), components: { ...health().components, kafka: "ok" } },
		{ ...health(), components: { ...health().components, memory_wal_lag: undefined } },
	];
	for (const value of wrong)
		assert.equal(isDocument(value), false, JSON.stringify(value));
});

test("it says which component, its lag, its backlog and its last error", () => {
	const { summary, problems } = judged(DOWN);
	assert.deepEqual(problems.map((p) => `${p.component} ${p.level}`),
		["memory_wal_lag critical", "memory_write_outbox critical", "somabrain degraded"]);
	assert.equal(problems[0].text, "Lag: the oldest memory is 42 s late (critical above 30 s)");
	assert.equal(problems[1].text, "Backlog: 240 memories wait (critical above 100)");
	assert.equal(problems[2].text, "SomaBrain is degraded: circuit open, 240 waiting, last error:" +
		" could not connect to 127.0.0.1 port 9696: Connection refused");
	assert.equal(summary, problems[0].text);
	assert.equal(judged(health()).summary, "0 s late, 0 waiting");
	assert.deepEqual(judged(health()).problems, []);
	assert.match(judged(lagging(11)).summary, /11 s late \(warning above 10 s\)/);
	assert.equal(judged(health({}, "down"), { status: 503 }).summary,
		"The server says that it is down (it answered 503)");
	assert.equal(judged(DEGRADED).summary,
		"SomaBrain is degraded: circuit open, 12 waiting, last error: HTTP status 503");
	assert.ok(judged(health({ kafka: { status: "down", last_error: "x".repeat(9999) } }))
		.summary.length < 400, "an endless error ends");
});

test("a dismissal follows the state down, and ends where it gets worse", () => {
	const walks = [
		["degraded", "degraded", "degraded"], ["degraded", "critical", null],
		["degraded", "unreachable", null], ["degraded", "ok", null],
		["critical", "degraded", "degraded"], ["critical", "critical", "critical"],
		["critical", "unreachable", null], ["unreachable", "critical", null],
		["unreachable", "degraded", "degraded"], [null, "critical", null], [null, "ok", null],
	];
	for (const [dismissed, state, left] of walks)
		assert.equal(keepDismissed(dismissed, state), left, `${dismissed}, then ${state}`);
	assert.equal(["degraded", "critical"].reduce(keepDismissed, "critical"), null,
		"better, then bad again");
	assert.equal(["ok", "degraded"].reduce(keepDismissed, "critical"), null, "well, then bad");
});

test("looks begin in step", () => {
	assert.equal(delayToNext(1000, 1000, 30), 30000);
	assert.equal(delayToNext(1000, 6000, 30), 25000);
	assert.equal(delayToNext(1000, 99000, 30), 0, "late is at once");
	assert.equal(delayToNext(99000, 1000, 30), 30000, "a clock that was set back");
});

test("a setting that makes no sense is the default", () => {
	for (const text of [null, "", " ", "soon", "-1", "NaN", "Infinity", "1e9"])
		assert.equal(readSetting("lag-warning", text), 10, String(text));
	assert.equal(readSetting("lag-warning", "0"), 0);
	assert.equal(readSetting("lag-critical", "2.5"), 2.5);
	assert.equal(readSetting("interval", "0"), 30, "no time between looks is no interval");
	assert.equal(readSetting("interval", "1"), 1);
	assert.equal(readSetting("timeout", "0.1"), 5);
});

test("figures are words", () => {
	const durations = { 0: "0 s", 0.04: "0 s", 1.26: "1.3 s", 9.94: "9.9 s", 9.96: "10 s",
		42.4: "42 s", 119.4: "119 s", 121: "2 min", 7199: "120 min", 7201: "2 h", 90000: "25 h" };
	for (const [seconds, words] of Object.entries(durations))
		assert.equal(sayDuration(Number(seconds)), words);
	assert.equal(sayFigures("kafka", { status: "off" }), "switched off");
	assert.equal(sayFigures("postgres", { status: "ok" }), "");
	assert.equal(sayFigures("memory_write_outbox", health().components.memory_write_outbox),
		"0 waiting, oldest 0 s, 0 retrying, 0 dead");
	assert.equal(sayFigures("policy", { status: "ok", engine: "opa", circuit: "closed",
		last_error: { not: "text" } }), "engine opa, circuit closed");
	assert.equal(sayTime(new Date(2026, 0, 2, 3, 4, 5)), "03:04:05");
	assert.deepEqual(["ok", "degraded", "critical"].map((s) => worse("degraded", s)),
		["degraded", "degraded", "critical"]);
	const names = listComponents(health({ new_part: { status: "ok" } })).map((c) => c.name);
	assert.deepEqual(names.slice(-2), ["policy", "new_part"], "what is not known comes last");
});
