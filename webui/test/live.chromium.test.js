/*
 * The page as the server program serves it, by a real server: SomaBrain goes and comes back, then
 * the server does.  SomaBrain is the stand-in of test/standin; build/stage has the server.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { Bed, launch, pathOf } from "./bed.js";

async function findPort()
{
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address();
	server.close();
	await once(server, "close");
	return port;
}

async function startBrain()
{
	const process = spawn(pathOf("build/standin/somabrain"),
		{ stdio: ["ignore", "pipe", "ignore"] });
	for await (const line of createInterface({ input: process.stdout })) {
		const [word, port, , control] = line.split(" ");
		if (word === "ready")
			return { process, port, control };
	}
	throw new Error("the SomaBrain stand-in did not start");
}

function tellBrain(brain, mode)
{
	return fetch(`http://127.0.0.1:${brain.control}/_control`,
		{ method: "POST", body: JSON.stringify({ mode }) });
}

function runServer(...args)
{
	return execFileSync(pathOf("test/lib/server.sh"), args,
		{ encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/* Each look brings its event; a state that never comes ends the test by its time. */
async function becomes(bed, state)
{
	for (;;) {
		const look = await bed.next();
		if (look.state === state)
			return look;
	}
}

async function watch(bed, brain, folder)
{
	await bed.banner.evaluate((banner) => banner.setAttribute("interval", "1"));
	await becomes(bed, "ok");
	await bed.shoot("live-ok");

	await tellBrain(brain, "down");
	runServer("psql", folder, "-qc", `SELECT somamem.memory_write('{"type": "turn", "role": "user",
		"content": "x", "metadata": {"tenant": "t", "session_id": "s"}}')`);
	const degraded = await becomes(bed, "degraded");
	assert.equal(degraded.document.status, "degraded");
	const critical = await becomes(bed, "critical");
	assert.equal(critical.document.status, "down", "503 brings the document all the same");
	assert.match(await bed.panel.textContent(), /Lag: .* late.*SomaBrain is degraded/);
	await bed.shoot("live-critical");

	await tellBrain(brain, "ok");
	await becomes(bed, "ok");
	assert.equal(await bed.panel.isVisible(), false);

	runServer("stop", folder);
	await becomes(bed, "unreachable");
	runServer("start", folder);
	await becomes(bed, "ok");
}

test("the banner says what becomes of a real server", { timeout: 120000 }, async (t) => {
	const folder = mkdtempSync(join(tmpdir(), "somamem-web."));
	const brain = await startBrain();
	const port = await findPort();
	let browser;
	try {
		runServer("start", folder, `somamem.http_listen=127.0.0.1:${port}`,
			`somamem.somabrain_url=http://127.0.0.1:${brain.port}`, "somamem.lag_warning=2s",
			"somamem.lag_critical=4s", "somamem.retry_max=1s");
		runServer("psql", folder, "-qc", "CREATE EXTENSION somamem");
		browser = await launch();
		const bed = await Bed.open(browser, { port }, t.signal, { real: true });
		await watch(bed, brain, folder);
		assert.deepEqual(await bed.close(), [], "no error, nothing refused by its policy");
	} finally {
		await browser?.close();
		brain.process.kill();
		runServer("remove", folder);
		rmSync(folder, { recursive: true, force: true });
	}
});
