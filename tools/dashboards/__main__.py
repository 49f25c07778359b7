"""Writes `deploy/grafana/*.json`; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.dashboards.build import files

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"


def drifted() -> list[str]:
    """Names the committed files that differ from the boards."""
    fresh = files()
    kept = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in fresh | kept if fresh.get(name) != kept.get(name))


if __name__ == "__main__":
    if "--check" in sys.argv:
        if stale := drifted():
            raise SystemExit(
                "dashboards differ from tools/dashboards/boards (python -m tools.dashboards): "
                + ", ".join(stale)
            )
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, content in files().items():
            (FOLDER / name).write_text(content)
