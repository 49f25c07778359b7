"""The short form of `python -m bench swap`."""

from pathlib import Path

import pytest

from tests.acceptance.bench import run_quick


@pytest.mark.timeout(300)
def test_nobody_notices_that_generations_are_swapped(tmp_path: Path) -> None:
    found = run_quick("swap", tmp_path)
    assert found["figures"]["swaps"] >= 1
    assert found["figures"]["requests"]["search"] > 100
