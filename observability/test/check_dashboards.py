#!/usr/bin/env python3
"""
Checks the dashboards of Grafana without a Grafana: their form, and what their queries ask for.

    check_dashboards.py            checks, and prints what is wrong
    check_dashboards.py --rules    prints the queries as rules, for promtool to parse
    check_dashboards.py --queries  prints "dashboard <tab> panel <tab> expression", to be run

Variables stand for everything, ranges for five minutes.
"""

import json
import re
import sys

from promql import FOLDER, unknown

PANELS = {"stat", "timeseries", "state-timeline", "table", "heatmap", "bargauge"}
RANGES = {"$__rate_interval": "5m", "$__range": "5m", "$__interval": "5m"}
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
WIDTH = 24


def dashboards():
    for path in sorted((FOLDER / "grafana" / "dashboards").glob("*.json")):
        yield path.stem, json.loads(path.read_text())


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def plain(expr):
    for name, value in RANGES.items():
        expr = expr.replace(name, value)
    return VARIABLE.sub(".*", expr)


def queries():
    for name, dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                yield name, panel["title"], target["expr"]


def overlaps(one, other):
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def check_variables(dashboard):
    names = set()
    for variable in dashboard["templating"]["list"]:
        names.add(variable["name"])
        if variable["type"] == "datasource":
            if variable["query"] != "prometheus":
                yield "the variable datasource is no Prometheus"
            continue
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        if not match:
            yield f"variable {variable['name']} is no label_values()"
            continue
        for wrong in unknown(match.group(1) + " + on (" + match.group(2) + ") up"):
            yield f"variable {variable['name']}: {wrong}"
        for used in VARIABLE.findall(match.group(1)):
            if used not in names:
                yield f"variable {variable['name']} asks for ${used}, which is not before it"
        if variable["definition"] != variable["query"]["query"]:
            yield f"variable {variable['name']} is not defined as it is asked for"
        if not variable["includeAll"]:
            yield f"variable {variable['name']} does not offer all"


def check_panel(panel, variables):
    if panel["type"] == "row":
        return
    if panel["type"] not in PANELS:
        yield f"a type that is not expected: {panel['type']}"
    if not panel.get("description"):
        yield "no description"
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield "no unit"
    steps = defaults.get("thresholds", {}).get("steps", [])
    values = [step["value"] for step in steps[1:]]
    if not steps or steps[0]["value"] is not None or values != sorted(set(values)):
        yield "thresholds are missing, or do not rise"
    if panel["type"] == "stat" and not values and defaults["unit"] != "ops":
        yield "a single figure without a threshold"
    if not panel.get("targets"):
        yield "no query"
    refs = [target["refId"] for target in panel["targets"]]
    if len(set(refs)) != len(refs):
        yield "two queries have one refId"
    for target in panel["targets"]:
        if target["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
            yield "a query does not ask the chosen datasource"
        if panel["type"] == "timeseries" and not target["legendFormat"]:
            yield "a query without a legend"
        for used in VARIABLE.findall(target["expr"]):
            if used not in variables and "$" + used not in RANGES:
                yield f"there is no variable {used}"
        for wrong in unknown(plain(target["expr"])):
            yield wrong


def check_places(dashboard):
    shown = list(panels(dashboard))
    ids = [panel["id"] for panel in shown]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    for number, panel in enumerate(shown):
        place = panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > WIDTH or place["w"] < 1 or place["h"] < 1:
            yield f"{panel['title']} is out of the grid"
        for other in shown[number + 1 :]:
            if overlaps(place, other["gridPos"]):
                yield f"{panel['title']} overlaps {other['title']}"


def check_dashboard(dashboard):
    if dashboard["schemaVersion"] < 38:
        yield "its form is older than Grafana 10"
    if "id" in dashboard:
        yield "it has an id of some Grafana's own"
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for name in ("datasource", "instance", "database"):
        if name not in variables:
            yield f"it has no variable {name}"
    yield from check_variables(dashboard)
    yield from check_places(dashboard)
    for panel in panels(dashboard):
        for wrong in check_panel(panel, variables):
            yield f"{panel['title']}: {wrong}"


def check():
    found = 0
    shown = 0
    uids = {}
    for name, dashboard in dashboards():
        for wrong in check_dashboard(dashboard):
            print(f"{name}: {wrong}")
            found += 1
        for key in ("uid", "title"):
            other = uids.setdefault((key, dashboard[key]), name)
            if other != name:
                print(f"{name}: {other} has the same {key}")
                found += 1
        shown += 1
    print(f"{shown} dashboards, {len(list(queries()))} queries, {found} faults")
    return found > 0 or shown == 0


def print_rules():
    rules = [{"record": f"q{number}", "expr": plain(expr)} for number, (_, _, expr) in enumerate(queries())]
    # JSON is YAML.
    print(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}, indent=1))


if sys.argv[1:] == ["--rules"]:
    print_rules()
elif sys.argv[1:] == ["--queries"]:
    for dashboard_name, title, query in queries():
        print(dashboard_name, title, plain(query), sep="\t")
else:
    sys.exit(check())
