/*
 * The page that the server program serves at "/": the banner, and the components of what it
 * saw last.  "/?database=NAME" asks for one database.
 */
import { HealthBanner, adopt, make } from "./health-banner.js";
import { listComponents, nameOf, sayFigures, sayTime } from "./health-state.js";

/* What is said in few words, whatever happens; the others get room for a last error. */
const BRIEF = ["postgres", "memory_wal_lag", "memory_dlq"];

/* The header is as high as the banner's panel, which lies over it; rows keep their height, so
   that figures that grow move nothing. */
const STYLE = `
:root { color-scheme: light dark; --ink: #1c2128; --paper: #ffffff; --rule: #c8ccd2;
	--quiet: #4d5560; --health-banner-panel: 6.5rem; }
body { margin: 0; font: 1rem/1.4 system-ui, sans-serif; color: var(--ink);
	background: var(--paper); }
health-banner { position: sticky; inset-block-start: 0; z-index: 1; }
.content { max-inline-size: 60rem; margin-inline: auto; padding: 0 .75rem 2rem; }
header { min-block-size: var(--health-banner-panel); padding-block: 1rem 0;
	box-sizing: border-box; }
h1 { margin: 0; font-size: 1.5rem; }
p { margin: .2rem 0; color: var(--quiet); }
table { inline-size: 100%; table-layout: fixed; border-collapse: collapse;
	font-variant-numeric: tabular-nums; }
caption { text-align: start; padding-block: .3rem; color: var(--quiet); }
caption a { float: inline-end; }
th, td { text-align: start; vertical-align: top; padding: .5rem .4rem;
	border-block-start: 1px solid var(--rule); }
thead th { border: 0; font-size: .85rem; color: var(--quiet); }
tbody th { font-weight: 600; }
th:nth-child(1) { inline-size: 8.5rem; }
th:nth-child(2) { inline-size: 6.5rem; }
td > div { block-size: 2.8em; overflow: hidden; overflow-wrap: anywhere; display: -webkit-box;
	-webkit-box-orient: vertical; -webkit-line-clamp: 2; }
td > .brief { block-size: 1.4em; -webkit-line-clamp: 1; }
.degraded, .down { font-weight: 700; }
.degraded { color: #7a4b00; }
.down { color: #a01212; }
a { color: inherit; }
a:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
@media (max-width: 30rem) {
	:root { --health-banner-panel: 12.5rem; }
	table { font-size: .95rem; }
	th:nth-child(1) { inline-size: 6.6rem; }
	th:nth-child(2) { inline-size: 5.2rem; }
	td > div { block-size: 5.6em; -webkit-line-clamp: 4; }
}
@media (prefers-color-scheme: dark) {
	:root { --ink: #e3e7ec; --paper: #14171b; --rule: #3b424b; --quiet: #aab2bd; }
	.degraded { color: #ffd97a; }
	.down { color: #ffb4b0; }
}
@media (forced-colors: active) { .degraded, .down { color: CanvasText; } }
`;

function makeRow({ name, part })
{
	const head = make("th", { textContent: nameOf(name) });
	head.scope = "row";
	return make("tr", {}, head,
		make("td", { textContent: part.status, className: part.status }),
		make("td", {}, make("div", { textContent: sayFigures(name, part),
			className: BRIEF.includes(name) ? "brief" : "" })));
}

/* Without an answer the last figures stay, and the caption says how old they are. */
function showDocument(table, note, server, health)
{
	if (health === null) {
		if (table.dataset.seen !== undefined)
			note.textContent = `No answer. Figures of ${table.dataset.seen}`;
		return;
	}
	table.dataset.seen = sayTime(new Date());
	note.textContent = `Components at ${table.dataset.seen}`;
	table.tBodies[0].replaceChildren(...listComponents(health).map(makeRow));
	server.textContent = (health.database === undefined ? "All databases" :
		`Database ${health.database}`) + `, somamem ${health.version}`;
}

function showPage()
{
	const banner = document.querySelector("health-banner");
	const table = document.querySelector("table");
	const server = document.getElementById("server");
	const note = document.getElementById("note");
	const database = new URLSearchParams(location.search).get("database");

	adopt(document, STYLE);
	if (database !== null) {
		const source = `/v1/health?database=${encodeURIComponent(database)}`;
		banner.setAttribute("src", source);
		table.caption.querySelector("a").setAttribute("href", source);
	}
	banner.addEventListener("health-look",
		(event) => showDocument(table, note, server, event.detail.document));
	HealthBanner.define();
	document.querySelector("main").hidden = false;
}

showPage();
