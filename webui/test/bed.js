/*
 * A bed for the banner: a server that serves the page under a stricter policy than the server
 * program does and answers /v1/health as the test says, and a page in Chromium with a clock that
 * stands until the test moves it.
 */
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { health } from "./documents.js";

const ROOT = new URL("../../", import.meta.url);
const FILES = {
	"/": ["index.html", "text/html; charset=utf-8"],
	"/health-page.js": ["components/health-page.js", "text/javascript"],
	"/health-banner.js": ["components/health-banner.js", "text/javascript"],
	"/health-state.js": ["components/health-state.js", "text/javascript"],
};
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:";
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
	"--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const NOW = new Date("2026-03-04T05:06:07");

export function pathOf(name)
{
	return fileURLToPath(new URL(name, ROOT));
}

export async function launch()
{
	const require = createRequire(new URL("build/webui/package.json", ROOT));
	const { chromium } = require("playwright-core");
	return chromium.launch({ executablePath: process.env.SMEM_CHROMIUM ?? "/usr/bin/chromium",
		args: ARGS });
}

/* What it answers is in status and body; held answers wait for release(). */
export class HealthServer
{
	status = 200;
	body = health();
	held = null;
	looks = 0;
	atOnce = 0;
	most = 0;

	async listen(port = 0)
	{
		this.http = createServer((request, response) => this.#serve(request, response));
		this.http.listen(port, "127.0.0.1");
		await once(this.http, "listening");
		this.port = this.http.address().port;
		return this;
	}

	async close()
	{
		if (!this.http.listening)
			return;
		const closed = once(this.http, "close");
		this.http.close();
		this.http.closeAllConnections();
		await closed;
	}

	say(body, status = 200)
	{
		this.body = body;
		this.status = status;
	}

	hold()
	{
		this.held = [];
	}

	release()
	{
		const held = this.held;
		this.held = null;
		held.forEach((answer) => answer());
	}

	#serve(request, response)
	{
		const { pathname } = new URL(request.url, "http://x");
		if (pathname === "/v1/health")
			this.#look(request, response);
		else if (FILES[pathname] === undefined)
			response.writeHead(404).end();
		else
			response.writeHead(200, { "Content-Type": FILES[pathname][1],
				"Content-Security-Policy": POLICY, "Cache-Control": "no-store" })
				.end(readFileSync(pathOf(`webui/${FILES[pathname][0]}`)));
	}

	#look(request, response)
	{
		const answer = () => {
			const body = typeof this.body === "string" ? this.body : JSON.stringify(this.body);
			response.writeHead(this.status, { "Content-Type": "application/json" }).end(body);
		};
		this.url = request.url;
		this.looks++;
		this.most = Math.max(this.most, ++this.atOnce);
		response.on("close", () => this.atOnce--);
		if (this.held !== null)
			this.held.push(answer);
		else
			answer();
	}
}

/* Runs in the page before its scripts: layout shifts, refused content, visibility. */
function prepare()
{
	globalThis.shift = 0;
	globalThis.refused = [];
	new PerformanceObserver((list) => {
		for (const entry of list.getEntries())
			globalThis.shift += entry.value;
	}).observe({ type: "layout-shift", buffered: true });
	document.addEventListener("securitypolicyviolation",
		(event) => globalThis.refused.push(event.violatedDirective));
	for (const name of ["health-look", "health-change"])
		document.addEventListener(name, (event) => globalThis.sawEvent(name, event.detail));
}

/* A page that shows the banner; next() waits for the event after those that were taken. */
export class Bed
{
	#events = [];
	#waiting = null;
	#over = null;
	changes = [];
	errors = [];

	/* signal: the test's, which ends the waiting, and so lets the test clean up. */
	static async open(browser, server, signal, { path = "/", real = false, ...options } = {})
	{
		const bed = new Bed();
		bed.server = server;
		bed.#over = new Promise((_, reject) => {
			signal.addEventListener("abort", () => reject(new Error("the test's time is over")));
		});
		bed.#over.catch(() => {});
		bed.context = await browser.newContext(
			{ viewport: { width: 1000, height: 700 }, locale: "en-GB", ...options });
		bed.page = await bed.context.newPage();
		bed.page.on("pageerror", (error) => bed.errors.push(String(error)));
		await bed.page.exposeFunction("sawEvent", (name, detail) => bed.#take(name, detail));
		await bed.page.addInitScript(prepare);
		if (!real) {
			await bed.page.clock.install({ time: NOW });
			await bed.page.clock.pauseAt(NOW);
		}
		await bed.page.goto(`http://127.0.0.1:${server.port}${path}`);
		bed.banner = bed.page.locator("health-banner");
		bed.panel = bed.page.locator("health-banner .panel");
		bed.refresh = bed.page.getByRole("button", { name: "Refresh" });
		bed.dismiss = bed.page.getByRole("button", { name: "Dismiss" });
		await bed.next();
		return bed;
	}

	#take(name, detail)
	{
		if (name === "health-change") {
			this.changes.push(detail);
			return;
		}
		this.#events.push(detail);
		this.#waiting?.();
	}

	async next()
	{
		if (this.#events.length === 0)
			await Promise.race([this.#over,
				new Promise((resolve) => { this.#waiting = resolve; })]);
		return this.#events.shift();
	}

	get untaken()
	{
		return this.#events.length;
	}

	/* Lets the time pass until the next look, and waits for what it brought. */
	async pass(seconds = 30)
	{
		await this.page.clock.runFor(seconds * 1000);
		return this.next();
	}

	async see(body, status = 200)
	{
		this.server.say(body, status);
		return this.pass();
	}

	/* Headless Chromium hides no tab: the page is told so instead, by what it would notice. */
	async setHidden(hidden)
	{
		await this.page.evaluate((state) => {
			Object.defineProperty(document, "visibilityState",
				{ value: state, configurable: true });
			document.dispatchEvent(new Event("visibilitychange"));
		}, hidden ? "hidden" : "visible");
	}

	async shoot(name)
	{
		mkdirSync(pathOf("build/webui"), { recursive: true });
		await this.page.screenshot({ path: pathOf(`build/webui/${name}.png`) });
	}

	async close()
	{
		const refused = await this.page.evaluate(() => globalThis.refused);
		await this.context.close();
		return [...this.errors, ...refused];
	}
}
