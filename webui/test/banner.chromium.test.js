/* The banner and its page in a real Chromium, with a server that says what the test tells it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Bed, HealthServer, launch } from "./bed.js";
import { DEGRADED, DOWN, health, lagging } from "./documents.js";
import { findFaint } from "./look.js";

let browser;

before(async () => { browser = await launch(); });
after(() => browser?.close());

/* A test gets a server of its own; nothing may go wrong in the page that it does not look at. */
function scene(name, options, body)
{
	test(name, { timeout: 60000 }, async (t) => {
		const server = await new HealthServer().listen();
		let bed;
		server.say(options.first ?? health(), options.status);
		try {
			bed = await Bed.open(browser, server, t.signal, options);
			await body(bed, server);
			assert.deepEqual(await bed.close(), [], "no error, nothing refused by the policy");
		} finally {
			await bed?.context.close();
			await server.close();
		}
	});
}

function stateOf(bed)
{
	return bed.banner.evaluate((banner) => banner.state);
}

scene("each state is said in words, with what is wrong", {}, async (bed) => {
	const line = bed.banner.locator(".line");
	const steps = [
		[health(), 200, "ok", /^OKlooked at 05:06:070 s late, 0 waiting/],
		[DEGRADED, 200, "degraded",
			/^Degradedlooked at 05:06:37SomaBrain is degraded: circuit open, 12 waiting/],
		[DOWN, 503, "critical", /^Criticallooked at 05:07:07Lag: the oldest memory is 42 s late/],
		["no JSON", 200, "unreachable", /^Unreachable.*The answer is not JSON/],
		[health(), 404, "unreachable", /^Unreachable.*The server answered 404/],
		[health(), 503, "critical", /^Critical.*The server says that it is ok \(it answered 503\)/],
		[health(), 200, "ok", /^OK.*0 s late/],
	];
	for (const [i, [body, status, state, words]] of steps.entries()) {
		const { previous } = i === 0 ? {} : await bed.see(body, status);
		assert.equal(await stateOf(bed), state);
		assert.match(await line.textContent(), words);
		assert.equal(await bed.panel.isVisible(), state !== "ok");
		assert.ok(i === 0 || previous !== undefined);
	}
	assert.deepEqual(bed.changes.map((c) => [c.previous, c.state, c.document?.status ?? null]), [
		[null, "ok", "ok"], ["ok", "degraded", "degraded"], ["degraded", "critical", "down"],
		["critical", "unreachable", null], ["unreachable", "critical", "ok"],
		["critical", "ok", "ok"]], "an event for each change, and for no look without one");
});

scene("the panel has every problem, the worst first", { first: DOWN, status: 503 }, async (bed) => {
	const items = await bed.panel.getByRole("listitem").allTextContents();
	assert.equal(items.length, 3);
	assert.match(items[0], /^Lag: the oldest memory is 42 s late \(critical above 30 s\)/);
	assert.match(items[1], /^Backlog: 240 memories wait \(critical above 100\)/);
	assert.match(items[2], /^SomaBrain .*last error: could not connect to/);
});

scene("what a server says is text, whatever it says", {}, async (bed) => {
	const evil = "<img src=x onerror=alert(1)><b>x</b>";
	await bed.see(health({ kafka: { status: "down", last_error: evil },
		[evil]: { status: "degraded" } }));
	assert.ok((await bed.panel.textContent()).includes(evil));
	assert.ok((await bed.page.locator("table").textContent()).includes(evil));
	assert.equal(await bed.page.locator("img, b").count(), 0);
});

scene("thresholds are attributes, and judge again at once", { first: lagging(5, 20) },
	async (bed, server) => {
		const set = (name, value) => bed.banner.evaluate(
			(banner, [n, v]) => banner.setAttribute(n, v), [name, value]);
		for (const [name, value, state] of [["lag-warning", "4", "degraded"],
			["lag-critical", "4.5", "critical"], ["lag-critical", "30", "degraded"],
			["lag-warning", "10", "ok"], ["pending-warning", "19", "degraded"],
			["pending-critical", "19", "critical"], ["pending-critical", "nonsense", "degraded"]]) {
			await set(name, value);
			assert.equal(await stateOf(bed), state, `${name}=${value}`);
		}
		assert.equal(server.looks, 1, "without another look");
	});

scene("it looks every 30 s, or as the attribute says", {}, async (bed, server) => {
	await bed.page.clock.runFor(29900);
	assert.equal(server.looks, 1);
	await bed.pass(0.2);
	assert.equal(server.looks, 2);
	await bed.banner.evaluate((banner) => banner.setAttribute("interval", "2"));
	await bed.next();
	assert.equal(server.looks, 3, "a new interval begins with a look");
	await bed.pass(2.1);
	await bed.pass(2.1);
	assert.equal(server.looks, 5);
});

scene("a server that goes is unreachable, and found again", {}, async (bed, server) => {
	await server.close();
	assert.equal((await bed.pass()).document, null);
	assert.equal(await stateOf(bed), "unreachable");
	assert.match(await bed.panel.textContent(), /No connection to the server/);
	assert.match(await bed.page.locator("caption").textContent(),
		/No answer. Figures of 05:06:07/);
	assert.equal(await bed.page.locator("tbody tr").count(), 7, "the last figures stay");
	await server.listen(server.port);
	await bed.pass();
	assert.equal(await stateOf(bed), "ok");
	assert.match(await bed.page.locator("caption").textContent(), /Components at 05:07:07/);
});

scene("a slow answer is given up, and asked for once at a time", {}, async (bed, server) => {
	server.hold();
	await bed.page.clock.runFor(30000);
	await bed.refresh.click();
	await bed.refresh.click();
	await bed.page.clock.runFor(4900);
	assert.equal(await stateOf(bed), "ok", "it has 5 s");
	await bed.pass(0.2);
	assert.equal(await stateOf(bed), "unreachable");
	assert.match(await bed.panel.textContent(), /No answer within 5 s/);
	assert.equal(server.most, 1, "never two at once");
	assert.equal(server.looks, 2);
	server.release();
	await bed.pass(25);
	assert.equal(await stateOf(bed), "ok", "in step with the look that was given up");
});

scene("the last word is the newest look's", { first: DOWN, status: 503 }, async (bed, server) => {
	server.hold();
	await bed.page.clock.runFor(30000);
	await bed.banner.evaluate((banner) => banner.setAttribute("src", "/v1/health?database=x"));
	server.say(health());
	server.release();
	await bed.next();
	assert.equal(server.url, "/v1/health?database=x");
	assert.equal(await stateOf(bed), "ok");
	assert.equal(bed.untaken, 0, "the look that was overtaken brings nothing");
});

scene("refresh looks at once, and says so", {}, async (bed, server) => {
	await bed.page.clock.runFor(3000);
	await bed.refresh.click();
	await bed.next();
	assert.equal(server.looks, 2);
	assert.match(await bed.banner.locator("time").textContent(), /05:06:10/);
	assert.match(await bed.page.getByRole("status").textContent(), /OK.*Looked at 05:06:10/);
	await bed.page.clock.runFor(29000);
	assert.equal(server.looks, 2, "the next look is an interval away");
	await bed.pass(1.1);
	assert.equal(server.looks, 3);
});

scene("what is dismissed comes back when it gets worse", { first: DEGRADED }, async (bed) => {
	const shows = async (body, status) => {
		await bed.see(body, status);
		return bed.panel.isVisible();
	};
	await bed.dismiss.click();
	assert.equal(await bed.panel.isVisible(), false);
	assert.equal(await shows(DEGRADED), false, "the same level stays dismissed");
	assert.equal(await shows(DOWN, 503), true, "worse");
	await bed.dismiss.click();
	assert.equal(await shows(DOWN, 503), false);
	assert.equal(await shows(DEGRADED), false, "better");
	assert.equal(await shows(DOWN, 503), true, "and bad again");
	await bed.dismiss.click();
	assert.equal(await shows(health()), false);
	assert.equal(await shows(DEGRADED), true, "well, and bad again");
	await bed.dismiss.click();
	assert.match(await bed.banner.locator(".line").textContent(), /Degraded/, "the line stays");
	await bed.page.getByRole("button", { name: "Show" }).click();
	assert.equal(await bed.panel.isVisible(), true, "who wants it sees it again");
});

scene("a hidden tab does not look, and looks at once when it is seen", {}, async (bed, server) => {
	await bed.setHidden(true);
	await bed.page.clock.runFor(300000);
	assert.equal(server.looks, 1);
	server.say(DEGRADED);
	await bed.setHidden(false);
	await bed.next();
	assert.equal(server.looks, 2);
	assert.equal(await stateOf(bed), "degraded");
	server.hold();
	await bed.page.clock.runFor(30000);
	await bed.setHidden(true);
	await bed.page.clock.runFor(300000);
	assert.equal(bed.untaken, 0, "a look that was under way is no outage");
	assert.equal(await stateOf(bed), "degraded");
	server.held = null;
	await bed.setHidden(false);
	await bed.next();
	await bed.pass();
});

scene("a banner that is taken out stops, and goes on when it is put back", {},
	async (bed, server) => {
		await bed.page.evaluate(() => {
			globalThis.taken = document.querySelector("health-banner");
			globalThis.taken.remove();
		});
		await bed.page.clock.runFor(300000);
		await bed.setHidden(false);
		assert.equal(server.looks, 1);
		await bed.page.evaluate(() => document.body.prepend(globalThis.taken));
		await bed.next();
		assert.equal(server.looks, 2);
		await bed.pass();
		assert.equal(server.looks, 3, "one timer");
	});

scene("it can be used by the keyboard alone", { first: DEGRADED }, async (bed, server) => {
	const focused = () => bed.page.evaluate(() => {
		const node = document.activeElement.shadowRoot?.activeElement ?? document.activeElement;
		const style = getComputedStyle(node);
		return [node.textContent, style.outlineStyle, parseFloat(style.outlineWidth) >= 2];
	});
	await bed.page.keyboard.press("Tab");
	assert.deepEqual(await focused(), ["Refresh", "solid", true]);
	await bed.page.keyboard.press("Enter");
	await bed.next();
	assert.equal(server.looks, 2);
	await bed.page.keyboard.press("Tab");
	assert.deepEqual(await focused(), ["Dismiss", "solid", true]);
	await bed.page.keyboard.press("Space");
	assert.equal(await bed.panel.isVisible(), false);
	assert.deepEqual(await focused(), ["Show", "solid", true], "the focus stays");
	await bed.page.keyboard.press("Space");
	assert.equal(await bed.panel.isVisible(), true);
	await bed.page.keyboard.press("Escape");
	assert.equal(await bed.panel.isVisible(), false);
	await bed.see(health());
	assert.equal((await focused())[0], "Refresh", "a button that goes leaves no one nowhere");
	await bed.page.keyboard.press("Tab");
	assert.equal((await focused())[0], "as JSON", "what is not shown is not reached");
});

scene("a screen reader hears changes, and no figures", {}, async (bed) => {
	const status = bed.page.getByRole("status");
	const alert = bed.page.getByRole("alert");
	assert.match(await status.textContent(), /^Server health: OK\./);
	await bed.see(lagging(12));
	assert.match(await status.textContent(), /^Server health: Degraded\. Lag: .*12 s late/);
	assert.equal(await alert.textContent(), "");
	await bed.see(lagging(14));
	assert.match(await status.textContent(), /12 s late/, "the same trouble is not said again");
	await bed.see(lagging(40, 200), 503);
	assert.match(await alert.textContent(), /Critical\. Lag: .*40 s late.*Backlog: 200/);
	assert.equal(await status.textContent(), "");
	await bed.see(health());
	assert.equal(await alert.textContent(), "");
	assert.match(await status.textContent(), /OK/);
	assert.equal(await bed.banner.locator("[aria-live] time, [role=alert] time").count(), 0);
});

scene("roles and names are there", { first: DOWN, status: 503 }, async (bed) => {
	const { page } = bed;
	for (const [role, name] of [["region", "Server health"], ["button", "Refresh"],
		["button", "Dismiss"], ["heading", "somamem"], ["table", /Components at/],
		["rowheader", "SomaBrain"], ["columnheader", "State"]])
		assert.equal(await page.getByRole(role, { name }).count(), 1, `${role} ${name}`);
	assert.equal(await page.locator("html[lang=en]").count(), 1);
	assert.equal(await page.getByRole("main").count(), 1);
	assert.equal(await page.locator("svg:not([aria-hidden=true])").count(), 0);
	assert.match(await page.locator("tbody tr").nth(1).textContent(),
		/^SomaBraindegradedcircuit open, 240 waiting, last error/);
});

scene("another database is asked for in the address", { path: "/?database=a%26b" },
	async (bed, server) => {
		assert.equal(server.url, "/v1/health?database=a%26b");
		assert.equal(await bed.page.getByRole("link").getAttribute("href"), server.url);
		assert.match(await bed.page.locator("#server").textContent(), /Database app, somamem 1.0/);
	});

/* Chromium counts no shift of what is new, as rows that are written again are. */
function findPlaces(bed)
{
	return bed.page.locator("h1, caption, tr").evaluateAll(
		(nodes) => nodes.map((node) => node.getBoundingClientRect().top));
}

const LOOKS = [["ok", health(), 200], ["degraded", DEGRADED, 200], ["critical", DOWN, 503],
	["unreachable", "away", 502]];

for (const width of [360, 1440]) {
	for (const colorScheme of ["light", "dark"]) {
		const options = { colorScheme, viewport: { width, height: 720 } };
		scene(`it is readable and nothing moves: ${width} px, ${colorScheme}`, options,
			async (bed) => {
				const places = await findPlaces(bed);
				for (const [name, body, status] of LOOKS) {
					await bed.see(body, status);
					assert.deepEqual(await bed.page.evaluate(findFaint), [], `${name}: contrast`);
					assert.deepEqual(await findPlaces(bed), places, `${name}: places`);
					assert.equal(await bed.page.evaluate(
						() => document.documentElement.scrollWidth), width, "no sideways scroll");
					await bed.shoot(`${name}-${width}-${colorScheme}`);
				}
				assert.equal(await bed.page.evaluate(() => globalThis.shift), 0, "layout shift");
			});
	}
}

scene("states differ without colour, in forced colours too",
	{ forcedColors: "active", reducedMotion: "reduce" }, async (bed) => {
		const seen = [];
		for (const [name, body, status] of LOOKS) {
			await bed.see(body, status);
			seen.push(await bed.banner.locator("strong").textContent() +
				await bed.banner.locator("path").getAttribute("d"));
			assert.deepEqual(await bed.page.evaluate(findFaint), [], `${name}: contrast`);
			await bed.shoot(`${name}-forced-colors`);
		}
		assert.equal(new Set(seen).size, LOOKS.length);
		assert.equal(await bed.page.evaluate(() => document.getAnimations().length), 0);
	});
