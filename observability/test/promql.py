"""What the checks share: the frozen list of metrics, and the names that a PromQL expression has."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent

# Prometheus' own.
OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "job", "instance"}}
TARGET = {"job", "instance"}
WORDS = set("and or unless offset bool by without on ignoring group_left group_right inf nan".split())
SUFFIXES = ("_bucket", "_sum", "_count")


def metrics():
    """Labels of each series of observability/metrics.txt, a histogram's three included."""
    found = {}
    for line in (FOLDER / "metrics.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, kind, labels = line.split()
        labels = set(labels.split(","))
        if kind == "histogram":
            found[name + "_bucket"] = labels | {"le"}
            found[name + "_sum"] = found[name + "_count"] = labels
        elif kind in ("gauge", "counter"):
            found[name] = labels
        else:
            raise ValueError(f"metrics.txt: {name} has the unknown type {kind}")
    return found


def unquoted(expr):
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)


def selectors(expr):
    """Pairs of a series' name and the labels that its matchers name."""
    text = unquoted(expr)
    # Labels that are grouped by, ranges and offsets are no series.
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\boffset\s+\w+", " ", text)
    for match in re.finditer(r"([A-Za-z_:][\w:]*)\s*(\(|\{[^}]*\})?", text):
        name, rest = match.group(1), match.group(2) or ""
        if rest == "(" or name.lower() in WORDS or re.match(r"[\d.]", text[match.start() - 1 : match.start()]):
            continue
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", rest))


def grouped(expr):
    """Labels that the expression groups by or joins on."""
    for found in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", unquoted(expr)):
        yield from (label.strip() for label in found.split(",") if label.strip())


def unknown(expr, recorded=()):
    """What an expression asks for that nobody exports."""
    known = metrics()
    every = set().union(*known.values()) | TARGET
    for name, labels in selectors(expr):
        if name in recorded:
            continue
        if name not in known and name not in OWN:
            yield f"no such metric: {name}"
            continue
        for label in sorted(labels - (known.get(name) or OWN[name]) - TARGET):
            yield f"{name} has no label {label}"
    for label in grouped(expr):
        if label not in every:
            yield f"no metric has a label {label}"
