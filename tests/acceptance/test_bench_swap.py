"""The short form of `python -m bench swap`, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nobody_notices_that_generations_are_swapped(tmp_path: Path) -> None:
    report = tmp_path / "swap.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "swap", "--quick", "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    found = json.loads(report.read_text())
    assert all(claim["holds"] for claim in found["claims"])
    assert found["figures"]["swaps"] >= 2
    assert found["figures"]["requests"]["search"] > 100
