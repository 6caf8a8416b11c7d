#!/usr/bin/env python3
"""
Checks what promtool does not ask of rules and alerts: severity, texts, a runbook that exists, a test
that sees each alert fire and one that sees it silent; that only metrics that exist are asked for, and
that docs/observability.md names every metric and alert.
"""

import re
import sys

import yaml
from promql import FOLDER, ROOT, SUFFIXES, metrics, unknown

PROMETHEUS = FOLDER / "prometheus"
RUNBOOK = re.compile(r"(docs/\w+\.md)#([\w-]+)")


def rules():
    for path in sorted(PROMETHEUS.glob("*.yml")):
        for group in yaml.safe_load(path.read_text()).get("groups", []):
            yield from group["rules"]


def anchors(document):
    for title in re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def tested():
    """Names of alerts that tests see fire, and see silent."""
    fires, silent = set(), set()
    for path in (PROMETHEUS / "tests").glob("*.test.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    return fires, silent


def tested_records():
    for path in (PROMETHEUS / "tests").glob("*.test.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("promql_expr_test", []):
                if case["exp_samples"]:
                    yield from re.findall(r"somamem:\w+:\w+", case["expr"])


def check_alert(rule, fires, silent):
    notes = rule.get("annotations", {})
    if rule.get("labels", {}).get("severity") not in ("warning", "critical"):
        yield "severity is neither warning nor critical"
    for name in ("summary", "description", "runbook_url"):
        if not notes.get(name):
            yield f"no {name}"
    if "{{" not in notes.get("description", ""):
        yield "the description has no values"
    match = RUNBOOK.fullmatch(notes.get("runbook_url", ""))
    if not match:
        yield "the runbook is no section of a document"
    elif match.group(2) != rule["alert"].lower() or match.group(2) not in anchors(match.group(1)):
        yield f"there is no runbook {match.group(0)}"
    if rule["alert"] not in fires:
        yield "no test sees it fire"
    if rule["alert"] not in silent:
        yield "no test sees it silent"


def unnamed():
    """Metrics and alerts that the documentation does not name."""
    text = (ROOT / "docs" / "observability.md").read_text()
    for name in [name for name in metrics() if not name.endswith(SUFFIXES)] + list(histograms()):
        if f"`{name}`" not in text:
            yield name
    for rule in rules():
        if "alert" in rule and f"`{rule['alert']}`" not in text:
            yield rule["alert"]


def histograms():
    return {name[: -len("_bucket")] for name in metrics() if name.endswith("_bucket")}


def check():
    found = 0
    alerts = 0
    names = set()
    fires, silent = tested()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    untested = recorded - set(tested_records())
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        wrong = list(unknown(rule["expr"], recorded))
        if "alert" in rule:
            alerts += 1
            wrong += check_alert(rule, fires, silent)
        elif name in untested and not any(name in other["expr"] for other in rules() if "alert" in other):
            wrong.append("no test asks for it")
        if name in names:
            wrong.append("there are two of that name")
        names.add(name)
        for text in wrong:
            print(f"{name}: {text}")
            found += 1
    for name in sorted((fires | silent) - names):
        print(f"{name}: tested, and not there")
        found += 1
    for name in unnamed():
        print(f"{name}: docs/observability.md does not name it")
        found += 1
    print(f"{alerts} alerts, {len(recorded)} recording rules, {found} faults")
    return found > 0 or alerts == 0


sys.exit(check())
