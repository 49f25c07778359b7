"""Alerts: runbooks, tests that fire and that stay silent; promtool where it is installed."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observe.promql import ALWAYS, PROMETHEUS, ROOT, rules
from tools.prometheus_rule import RULES

ALERTS = [each for each in rules() if "alert" in each]
NAMES = [each["alert"] for each in ALERTS]
RUNBOOKS = ROOT / "docs" / "runbooks"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


@cache
def cases() -> list[dict[str, Any]]:
    return [
        case
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
    ]


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_alert_is_described(alert: dict[str, Any]) -> None:
    severities = ("none",) if alert["alert"] == ALWAYS else ("warning", "critical")
    assert alert["labels"]["severity"] in severities
    assert alert["annotations"]["summary"]
    base = "{{ with $externalLabels.runbooks }}{{ . }}{{ else }}docs/runbooks{{ end }}"
    assert alert["annotations"]["runbook_url"] == f"{base}/{alert['alert']}.md"


@pytest.mark.parametrize("name", NAMES)
def test_every_runbook_says_what_to_type(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    assert parts[0].strip() == f"# {name}"
    assert parts[1::2] == ["Symptom", "Likely causes", "What to type"]
    assert all(part.strip() for part in parts[2::2])
    assert parts[6].strip().startswith("```sh\n")


def test_no_runbook_is_left_without_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_to_fire_and_to_stay_silent(name: str) -> None:
    fires = [bool(case.get("exp_alerts")) for case in cases() if case["alertname"] == name]
    assert set(fires) == ({True} if name == ALWAYS else {True, False})


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", *map(str, RULES))


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda path: str(path.stem))
def test_alerts_fire_and_stay_silent(file: Path) -> None:
    promtool("test", "rules", str(file))


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, timeout=60, check=False)
    assert not done.returncode, (done.stdout + done.stderr).decode()
