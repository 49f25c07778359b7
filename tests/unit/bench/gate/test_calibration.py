"""Damage is found that costs what was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.gate.calibration import calibrated


@given(st.floats(0.02, 30.0), st.floats(0.1, 3.0))
def test_the_spread_costs_enough_and_little_more(steepness: float, first: float) -> None:
    spread = calibrated(lambda spread: spread / steepness, 0.10, 0.16, first)
    assert 0.10 <= spread / steepness <= 0.16


def test_where_costs_jump_enough_is_what_counts() -> None:
    spread = calibrated(lambda spread: 0.4 if spread > 0.7 else 0.0, 0.10, 0.16, 1.0)
    assert spread > 0.7
