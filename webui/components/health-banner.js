/*
 * <health-banner>: says in words whether a somamem server is well, by its document /v1/health.
 *
 *   <script type="module"> import { HealthBanner } from "/health-banner.js";
 *                          HealthBanner.define(); </script>
 *   <health-banner src="/v1/health" interval="30"></health-banner>
 *
 * Attributes: src, interval and timeout (seconds), lag-warning and lag-critical (seconds),
 * pending-warning and pending-critical (rows).  Events: "health-look" after every look,
 * "health-change" where the state is another than before; detail {state, previous, document}.
 */
import { DEFAULTS, RANK, WORDS, delayToNext, judge, keepDismissed, readAnswer, readSetting,
	sayDuration, sayTime } from "./health-state.js";

const SHAPES = {
	ok: "M10 1a9 9 0 1 0 0 18a9 9 0 0 0 0-18zM8.8 14.2L4.9 10.3l1.5-1.5l2.4 2.4l4.9-4.9l1.5 1.5z",
	degraded: "M10 1L0 19h20zM9 7.5h2v5.5h-2zM9 14.5h2v2h-2z",
	critical: "M6 1h8l5 5v8l-5 5H6l-5-5V6zM6.2 7.6l2.4 2.4l-2.4 2.4l1.4 1.4l2.4-2.4l2.4 2.4" +
		"l1.4-1.4l-2.4-2.4l2.4-2.4l-1.4-1.4l-2.4 2.4l-2.4-2.4z",
	unreachable: "M10 1a9 9 0 1 0 0 18a9 9 0 0 0 0-18zM5 9h2v2H5zM9 9h2v2H9zM13 9h2v2h-2z",
};

/*
 * The line keeps its height in every state, and the panel lies over what follows it: a page that
 * leaves room there says how much in --health-banner-panel.  Nothing moves and nothing fades.
 */
const STYLE = `
:host { display: block; position: relative; block-size: 3.5rem; color-scheme: light dark;
	font: 1rem/1.35 system-ui, sans-serif; --fg: #24292f; --bg: #f0f1f3; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
section { color: var(--fg); }
.line { display: flex; align-items: center; gap: .6rem; block-size: 3.5rem;
	padding-inline: .75rem; background: var(--bg); border-block-end: 2px solid var(--fg); }
svg { flex: none; inline-size: 1.5rem; block-size: 1.5rem; fill: currentColor; }
.words { flex: 1; min-inline-size: 0; }
.more { font-size: .85rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
	font-variant-numeric: tabular-nums; }
.summary::before { content: " · "; }
.summary[hidden], .summary:empty { display: none; }
button { flex: none; min-block-size: 2.25rem; padding: 0 .7rem; font: inherit; color: inherit;
	background: transparent; border: 1px solid currentColor; border-radius: .3rem;
	cursor: pointer; }
button:hover { text-decoration: underline; }
button:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
.off { visibility: hidden; }
.panel { position: absolute; inset-inline: 0; inset-block-start: 100%; z-index: 1000;
	min-block-size: var(--health-banner-panel, 0); max-block-size: 70vh; overflow: auto;
	padding: .6rem .75rem; background: var(--bg);
	border-block-end: 2px solid var(--fg); box-shadow: 0 4px 10px #0004; }
.panel[hidden] { display: none; }
ul { margin: 0; padding-inline-start: 1.2rem; }
li { overflow-wrap: anywhere; }
.said { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
	clip-path: inset(50%); white-space: nowrap; }
[data-state=ok] { --fg: #0b4a1e; --bg: #e4f4e8; }
[data-state=degraded] { --fg: #573700; --bg: #fff0c7; }
[data-state=critical] { --fg: #7a0c0c; --bg: #fde3e2; }
[data-state=unreachable] { --fg: #382a6b; --bg: #e8e5f5; }
@media (prefers-color-scheme: dark) {
	:host { --fg: #d6dae0; --bg: #24282e; }
	[data-state=ok] { --fg: #a9e5bb; --bg: #10261a; }
	[data-state=degraded] { --fg: #ffd97a; --bg: #332600; }
	[data-state=critical] { --fg: #ffb4b0; --bg: #3d0f10; }
	[data-state=unreachable] { --fg: #cfc6ff; --bg: #221d38; }
}
@media (forced-colors: active) { :host { --fg: CanvasText; --bg: Canvas; }
	[data-state] { --fg: CanvasText; --bg: Canvas; } }
@media (max-width: 40rem) { .summary { display: none; } .line { gap: .5rem; }
	button { padding: 0 .5rem; } }
`;

export function make(tag, properties = {}, ...children)
{
	const node = Object.assign(document.createElement(tag), properties);
	node.append(...children);
	return node;
}

function makeShape()
{
	const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	svg.setAttribute("viewBox", "0 0 20 20");
	svg.setAttribute("aria-hidden", "true");
	svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
	svg.firstChild.setAttribute("fill-rule", "evenodd");
	return svg;
}

export function adopt(root, css)
{
	const sheet = new CSSStyleSheet();
	sheet.replaceSync(css);
	root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
}

export class HealthBanner extends HTMLElement
{
	static observedAttributes = ["src", ...Object.keys(DEFAULTS)];

	#parts;
	#answer = null;
	#lookedAt = null;
	#state = null;
	#dismissed = null;
	#look = null;
	#timer = null;
	#onVisibility = () => this.#pauseOrGoOn();

	static define(name = "health-banner")
	{
		if (customElements.get(name) === undefined)
			customElements.define(name, this);
	}

	constructor()
	{
		super();
		const root = this.attachShadow({ mode: "open" });
		adopt(root, STYLE);
		this.#parts = this.#build(root);
	}

	/* ok, degraded, critical or unreachable; null before the first answer */
	get state()
	{
		return this.#state;
	}

	connectedCallback()
	{
		document.addEventListener("visibilitychange", this.#onVisibility);
		this.#pauseOrGoOn();
	}

	disconnectedCallback()
	{
		document.removeEventListener("visibilitychange", this.#onVisibility);
		this.#stop();
	}

	attributeChangedCallback(name, before, after)
	{
		if (!this.isConnected || before === after)
			return;
		if (name === "src")
			this.#stop();
		if (name === "src" || name === "interval")
			this.#pauseOrGoOn();
		else if (this.#answer !== null)
			this.#show(false);
	}

	/* Looks now, unless it is looking already. */
	refresh()
	{
		if (this.#look !== null)
			this.#look.asked = true;
		else
			this.#lookNow(true);
	}

	dismiss()
	{
		this.#dismissed = this.#state === "ok" ? null : this.#state;
		this.#showPanel();
	}

	#build(root)
	{
		const parts = {
			shape: makeShape(),
			state: make("strong", { textContent: "Looking…" }),
			summary: make("span", { className: "summary" }),
			when: make("span", { textContent: "not looked yet" }),
			refresh: make("button", { type: "button", textContent: "Refresh" }),
			dismiss: make("button", { type: "button", textContent: "Dismiss", className: "off" }),
			list: make("ul"),
			status: make("div", { className: "said" }),
			alert: make("div", { className: "said" }),
		};
		parts.panel = make("div", { className: "panel", hidden: true }, parts.list);
		parts.section = make("section", {},
			make("div", { className: "line" }, parts.shape,
				make("div", { className: "words" },
					parts.state, make("div", { className: "more" }, parts.when, parts.summary)),
				parts.refresh, parts.dismiss),
			parts.panel, parts.status, parts.alert);
		parts.section.setAttribute("aria-label", "Server health");
		parts.status.setAttribute("role", "status");
		parts.alert.setAttribute("role", "alert");
		parts.refresh.addEventListener("click", () => this.refresh());
		parts.dismiss.addEventListener("click", () => this.#toggle());
		parts.section.addEventListener("keydown", (event) => {
			if (event.key === "Escape" && this.#state !== null)
				this.dismiss();
		});
		root.append(parts.section);
		return parts;
	}

	#setting(name)
	{
		return readSetting(name, this.getAttribute(name));
	}

	#pauseOrGoOn()
	{
		if (document.visibilityState === "hidden")
			this.#stop();
		else if (this.#look === null)
			this.#lookNow(false);
	}

	#stop()
	{
		clearTimeout(this.#timer);
		clearTimeout(this.#look?.timer);
		this.#look?.controller.abort();
		this.#look = null;
	}

	async #lookNow(asked)
	{
		const limit = this.#setting("timeout");
		const controller = new AbortController();
		const look = { asked, controller, started: Date.now(),
			timer: setTimeout(() => controller.abort(), limit * 1000) };
		let answer;

		clearTimeout(this.#timer);
		this.#look = look;
		try {
			const response = await fetch(this.getAttribute("src") ?? "/v1/health",
				{ cache: "no-store", signal: controller.signal });
			answer = readAnswer(response.status, await response.text());
		} catch {
			answer = { document: null, reason: controller.signal.aborted ?
				`No answer within ${sayDuration(limit)}.` : "No connection to the server." };
		}
		if (this.#look !== look)
			return;
		clearTimeout(look.timer);
		this.#look = null;
		this.#answer = answer;
		this.#lookedAt = new Date();
		this.#timer = setTimeout(() => this.#lookNow(false),
			delayToNext(look.started, Date.now(), this.#setting("interval")));
		this.#show(look.asked);
		this.#tell("health-look", this.#state);
	}

	#show(asked)
	{
		const settings = Object.fromEntries(
			Object.keys(DEFAULTS).map((name) => [name, this.#setting(name)]));
		const judged = judge(this.#answer, settings);
		const parts = this.#parts;
		const previous = this.#state;

		this.#state = judged.state;
		this.#dismissed = keepDismissed(this.#dismissed, judged.state);
		parts.section.dataset.state = judged.state;
		parts.shape.firstChild.setAttribute("d", SHAPES[judged.state]);
		parts.state.textContent = WORDS[judged.state];
		parts.summary.textContent = judged.summary;
		parts.when.replaceChildren("looked at ", make("time",
			{ dateTime: this.#lookedAt.toISOString(), textContent: sayTime(this.#lookedAt) }));
		parts.list.replaceChildren(
			...judged.problems.map(({ text }) => make("li", { textContent: text })));
		this.#showPanel();
		this.#say(judged, asked);
		if (previous !== judged.state)
			this.#tell("health-change", previous);
	}

	#showPanel()
	{
		const { panel, summary, dismiss, refresh } = this.#parts;
		const well = this.#state === "ok";
		if (well && this.shadowRoot.activeElement === dismiss)
			refresh.focus();
		panel.hidden = well || this.#dismissed !== null;
		summary.hidden = !panel.hidden;
		dismiss.textContent = panel.hidden && !well ? "Show" : "Dismiss";
		dismiss.className = well ? "off" : "";
	}

	#toggle()
	{
		if (this.#dismissed === null) {
			this.dismiss();
			return;
		}
		this.#dismissed = null;
		this.#showPanel();
	}

	/* Heard where the state or what is in trouble changes, or somebody asked; figures alone
	   change at every look, which nobody wants read out. */
	#say(judged, asked)
	{
		const { status, alert } = this.#parts;
		const gist = `${judged.state} ${judged.problems.map((p) => p.component + p.level)}`;
		const loud = RANK[judged.state] === RANK.critical;
		if (gist === this.#parts.gist && !asked)
			return;
		this.#parts.gist = gist;
		(loud ? status : alert).textContent = "";
		(loud ? alert : status).textContent = `Server health: ${WORDS[judged.state]}. ` +
			`${[judged.summary, ...judged.problems.slice(1).map((p) => p.text)].join(". ")}. ` +
			`Looked at ${sayTime(this.#lookedAt)}`;
	}

	#tell(event, previous)
	{
		this.dispatchEvent(new CustomEvent(event, { bubbles: true, composed: true,
			detail: { state: this.#state, previous, document: this.#answer.document } }));
	}
}
