"""Runs the short form of a bench as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 280


def run_quick(name: str, folder: Path, *options: str, seconds: int = SECONDS) -> dict[str, Any]:
    """What it wrote; fails the test, with what it said, if a claim does not hold."""
    report = folder / f"{name}.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--quick", "--json", str(report), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    found: dict[str, Any] = json.loads(report.read_text())
    assert all(claim["holds"] for claim in found["claims"])
    return found
