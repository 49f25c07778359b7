"""Which series and labels a PromQL expression uses; as much of the language as ours needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from tools.metrics_docs import declare_all, known_series
from tools.prometheus_rule import RULES

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"

#: An alert whose silence is the alert.
ALWAYS = "Watchdog"
#: What the scrape itself adds to every series.
SCRAPE_LABELS = {"job", "instance", "namespace"}
#: What others export: Qdrant, the kubelet, kube-state-metrics.
FOREIGN = {
    "cluster_working_state": SCRAPE_LABELS,
    "kubelet_volume_stats_available_bytes": {"namespace", "persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"namespace", "persistentvolumeclaim"},
    "kube_pod_status_phase": {"namespace", "pod", "phase"},
    "kube_pod_container_status_restarts_total": {"namespace", "pod", "container"},
    "kube_pod_container_status_last_terminated_reason": {
        "namespace", "pod", "container", "reason",
    },
}  # fmt: skip
WORDS = {"and", "or", "unless", "bool", "by", "on", "without", "ignoring", "offset"}

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
_RANGE = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Selector:
    """A series name and its matchers (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expr: str) -> list[Selector]:
    """Every series that an expression selects."""
    without = _RANGE.sub("", _GROUPING.sub("", expr))
    strings: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        strings.append(found.group())
        return f'"{len(strings) - 1}"'

    found = []
    for name, braces, call in _SELECTOR.findall(_STRING.sub(put_aside, without)):
        if call or name in WORDS:
            continue
        matchers = tuple(
            (label, operator, strings[int(place)][1:-1])
            for label, operator, place in _MATCHER.findall(braces)
        )
        found.append(Selector(name, matchers))
    return found


def grouping(expr: str) -> set[str]:
    """Labels in `by (…)` and `on (…)`."""
    return {
        label.strip() for group in _GROUPING.findall(expr) for label in group.split(",") if label
    }


def rules() -> Iterator[dict[str, Any]]:
    """Recording rules and alerts."""
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def recorded() -> dict[str, set[str]]:
    """Recording rules, each with the labels of its series."""
    return {each["record"]: grouping(each["expr"]) for each in rules() if "record" in each}


def series() -> dict[str, set[str]]:
    """All that may be asked for: the code's metrics, the rules' and the scrape's."""
    ours = {name: labels | SCRAPE_LABELS for name, labels in known_series().items()}
    return ours | recorded() | FOREIGN | {"up": SCRAPE_LABELS}


def values() -> dict[tuple[str, str], set[str]]:
    """By series and label, the values that are declared at start, where they are."""
    registry = CollectorRegistry()
    declare_all(registry)
    found: dict[tuple[str, str], set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                found.setdefault((sample.name, label), set()).add(value)
    return found


def dashboards() -> dict[str, dict[str, Any]]:
    """The committed dashboards by file name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in dashboard["panels"] if each["type"] != "row"]


def queries() -> list[tuple[str, str, str]]:
    """Dashboard, panel and PromQL of every target, and of every annotation."""
    found = []
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            found += [(name, panel["title"], target["expr"]) for target in panel["targets"]]
        for annotation in dashboard["annotations"]["list"]:
            found.append((name, annotation["name"], annotation["expr"]))
    return found


def with_all_chosen(expr: str, seconds: int) -> str:
    """A panel's query as Grafana sends it when all is chosen, with this rate interval."""
    return (
        expr.replace("$namespace", ".*")
        .replace("$instance", ".*")
        .replace("$__rate_interval", f"{seconds}s")
    )
