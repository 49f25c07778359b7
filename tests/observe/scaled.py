"""The rules of deploy/prometheus with time running faster, so that faults need minutes, not hours.

Every duration is divided by the same factor: `for:`, ranges in brackets, and thresholds on
recorded seconds. Counts and latencies of requests stay: a count in a shorter range is reached
more slowly, never sooner.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tools.prometheus_rule import RULES

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+)([smh])")
_RANGE = re.compile(r"\[(\d+[smh])\]")
#: How long ago something was, by its recorded name, against a number of seconds.
_THRESHOLD = re.compile(r"\b(realm:\w+_seconds) > (\d+)\b")


def seconds(duration: str) -> float:
    """`5m` → 300."""
    match = _DURATION.fullmatch(duration)
    assert match, duration
    return int(match[1]) * UNITS[match[2]]


def scaled(factor: float) -> list[dict[str, Any]]:
    """The groups of all rules, `factor` times faster."""
    groups: list[dict[str, Any]] = []
    for file in RULES:
        groups += yaml.safe_load(file.read_text())["groups"]
    for group in groups:
        for rule in group["rules"]:
            rule["expr"] = _faster(rule["expr"], factor)
            if "for" in rule:
                rule["for"] = _milliseconds(seconds(rule["for"]) / factor)
    return groups


def write_scaled(file: Path, factor: float) -> Path:
    file.write_text(yaml.safe_dump({"groups": scaled(factor)}, sort_keys=False))
    return file


def takes_seconds(alert: str) -> float:
    """How long an alert's cause lasts until it fires: `for`, and the longest range it must fill.

    Thresholds on seconds come on top.
    """
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") == alert:
                    threshold = sum(float(found[1]) for found in _THRESHOLD.findall(rule["expr"]))
                    ranges = [
                        seconds(each)
                        for each in re.findall(r"changes\([^)]*\[(\w+)\]", rule["expr"])
                    ]
                    return seconds(rule.get("for", "0s")) + threshold + max(ranges, default=0.0)
    raise KeyError(alert)


def _faster(expr: str, factor: float) -> str:
    ranged = _RANGE.sub(lambda found: f"[{_milliseconds(seconds(found[1]) / factor)}]", expr)
    return _THRESHOLD.sub(lambda found: f"{found[1]} > {float(found[2]) / factor:g}", ranged)


def _milliseconds(wanted: float) -> str:
    return f"{round(wanted * 1000)}ms"
