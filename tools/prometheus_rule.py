"""Writes the operator's PrometheusRule from `deploy/prometheus`; `--check` only compares.

A custom resource holds its rules itself, so that no kustomization can refer to the files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = tuple(DEPLOY / "prometheus" / name for name in ("recording.yaml", "alerts.yaml"))
TARGET = DEPLOY / "k8s" / "components" / "monitoring-operator" / "rules.yaml"
HEAD = "# Made by `python -m tools.prometheus_rule` from deploy/prometheus; do not edit.\n"


def manifest() -> str:
    """The resource's text."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "realm"},
        "spec": {
            "groups": [
                group
                for file in RULES
                for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
            ]
        },
    }
    text: str = yaml.safe_dump(resource, sort_keys=False, width=100)
    return HEAD + text


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != manifest():
            raise SystemExit(
                f"{TARGET.relative_to(DEPLOY.parent)} differs from deploy/prometheus:"
                " python -m tools.prometheus_rule"
            )
    else:
        TARGET.write_text(manifest(), encoding="utf-8")
