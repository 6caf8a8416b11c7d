#!/usr/bin/env python3
"""
Checks docker/compose.yaml as far as that goes without Docker: its form, that the files it mounts are
there, and that what one service asks of another has the right name and port.
"""

import re
import sys

import yaml
from promql import ROOT

DOCKER = ROOT / "docker"
ADDRESS = re.compile(r"\b([a-z]+):(\d+)\b")


def check_service(name, service, document):
    if ("image" in service) == ("build" in service):
        yield "it has neither an image nor a build, or both"
    build = service.get("build")
    if build and not (DOCKER / build["context"] / build["dockerfile"]).is_file():
        yield f"there is no {build['dockerfile']}"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith(".") and not (DOCKER / source).exists():
            yield f"there is no {source}"
        if not source.startswith(".") and source not in document["volumes"]:
            yield f"volume {source} is not declared"
    for other in service.get("depends_on", []):
        if other not in document["services"]:
            yield f"it depends on {other}, which is not there"
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"port {port} is open to everybody"
    for text in [*service.get("command", []), *map(str, service.get("environment", {}).values())]:
        yield from check_addresses(text, document)


def listens(service):
    """Ports that a service's own configuration names."""
    text = yaml.safe_dump([service.get("command"), service.get("environment"), service.get("ports")])
    found = set(re.findall(r":(\d+)\b", text))
    # Those that are not configured.
    return found | {"prom/prometheus": {"9090"}}.get(service.get("image", "").split(":")[0], set())


def check_addresses(text, document):
    for host, port in ADDRESS.findall(text):
        if host in document["services"] and port not in listens(document["services"][host]):
            yield f"{host} does not listen on {port}"


def check():
    document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    wrong = []
    for name, service in document["services"].items():
        wrong += [f"{name}: {text}" for text in check_service(name, service, document)]
    wrong += check_addresses((DOCKER / "prometheus.yml").read_text(), document)
    dockerfile = (DOCKER / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (docker/\S+)", dockerfile, re.MULTILINE):
        if not (ROOT / source).is_file():
            wrong.append(f"Dockerfile: there is no {source}")
    for text in wrong:
        print(text)
    print(f"{len(document['services'])} services, {len(wrong)} faults")
    return len(wrong) > 0


sys.exit(check())
