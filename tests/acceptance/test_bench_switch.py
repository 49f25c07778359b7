"""The short form of `python -m bench switch`."""

from pathlib import Path

import pytest

from tests.acceptance.bench import run_quick


@pytest.mark.timeout(300)
def test_a_running_cluster_moves_to_another_encoder_and_back(tmp_path: Path) -> None:
    found = run_quick("switch", tmp_path)
    assert len(found["figures"]["answers_by_encoder"]) == 2
