"""Writes `deploy/grafana/*.json`; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.dashboards.build import to_json
from tools.dashboards.dependencies import DEPENDENCIES
from tools.dashboards.embedders import EMBEDDERS
from tools.dashboards.gateway import GATEWAY
from tools.dashboards.refresh import REFRESH
from tools.dashboards.trainer import TRAINER

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = (REFRESH, GATEWAY, EMBEDDERS, TRAINER, DEPENDENCIES)


def files() -> dict[str, str]:
    """Name and content of each file."""
    return {f"{each.uid}.json": to_json(each) for each in DASHBOARDS}


def drifted() -> list[str]:
    """Names the committed files that differ from the code."""
    fresh = files()
    kept = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in fresh | kept if fresh.get(name) != kept.get(name))


if __name__ == "__main__":
    if "--check" in sys.argv:
        if stale := drifted():
            raise SystemExit(
                "dashboards differ from their code (python -m tools.dashboards): "
                + ", ".join(stale)
            )
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, content in files().items():
            (FOLDER / name).write_text(content)
