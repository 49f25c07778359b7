"""The short form of `python -m bench chaos`, as a user runs it.

It proves less than the long one: half a minute of faults does not hit every phase of a refresh.
What it does claim, it claims in full: nothing lost, nothing of a wrong version, all at rest.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_faults_lose_nothing(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "chaos", "--quick", "--seed", "1", "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    found = json.loads(report.read_text())
    assert all(claim["holds"] for claim in found["claims"])
    assert sum(found["figures"]["faults"].values()) >= 5
    assert found["figures"]["looked_at"] > 500
