"""The tables of docs/quality.md: `python -m tools.quality_table REPORT.json...` prints them.

A file is what `python -m bench quality --json` wrote, or `realm eval --json`, each a row of one
table; they keep their order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.quality.tables import Table

HEAD = (
    "| system | EM | F1 | document R@1 | R@5 | R@20 | answer R@1 | R@5 | R@20 | commit |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
DEPTHS = ("r@1", "r@5", "r@20")


def row(report: dict[str, Any]) -> str:
    shares = [report["em"], report["f1"]]
    shares += [report[by][depth] for by in ("documents", "answers") for depth in DEPTHS]
    figures = [_percent(share) for share in shares]
    return f"| {' | '.join([report['system'], *figures, str(report['commit'])])} |"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def main() -> None:
    reports = [json.loads(Path(name).read_bytes()) for name in sys.argv[1:]]
    blocks = [
        f"{name}: {found['about']}\n\n{Table.from_json(found).markdown()}"
        for report in reports
        for name, found in report.get("figures", {}).items()
    ]
    if systems := [row(report) for report in reports if "system" in report]:
        blocks.append("\n".join([HEAD, *systems]))
    sys.stdout.write("\n\n".join(blocks) + "\n")


if __name__ == "__main__":
    main()
