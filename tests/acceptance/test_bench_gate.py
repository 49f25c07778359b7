"""The short form of `python -m bench gate`."""

from pathlib import Path

import pytest

from tests.acceptance.bench import run_quick


@pytest.mark.timeout(300)
def test_noisy_weights_are_refused_and_equal_ones_pass(tmp_path: Path) -> None:
    found = run_quick("gate", tmp_path)
    assert found["figures"]["noisy_cost"]["min"] >= 0.1
