"""The short form of `python -m bench chaos`.

It proves less than the long one: half a minute of faults does not hit every phase of a refresh.
What it does claim, it claims in full: nothing lost, nothing of a wrong version, all at rest.
"""

from pathlib import Path

import pytest

from tests.acceptance.bench import run_quick


@pytest.mark.timeout(600)
def test_faults_lose_nothing(tmp_path: Path) -> None:
    found = run_quick("chaos", tmp_path, "--seed", "1", seconds=580)
    assert sum(found["figures"]["faults"].values()) >= 5
    assert found["figures"]["looked_at"] > 500
