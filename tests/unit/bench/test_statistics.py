"""Quantiles, and the bound of a ratio of them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.statistics import quantile, ratio_upper_bound

LATENCIES = st.lists(st.floats(0.001, 10), min_size=1, max_size=50)


@given(LATENCIES, st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) <= share * len(values) + 1e-9


def test_nothing_has_no_quantile_and_no_ratio() -> None:
    assert math.isnan(quantile([], 0.99))
    assert math.isnan(ratio_upper_bound([[]], [[1.0]], 0.99))
    assert math.isnan(ratio_upper_bound([[1.0]], [], 0.99))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 10))
def test_the_ratio_of_constants_is_known_exactly(factor: float) -> None:
    bound = ratio_upper_bound([[factor] * 3] * 4, [[1.0] * 3] * 4, 0.99)
    assert bound == pytest.approx(factor)


def test_one_bad_window_among_many_makes_the_bound_wide() -> None:
    quiet = [[1.0] * 50] * 9
    assert ratio_upper_bound([*quiet, [5.0] * 50], [*quiet, [1.0] * 50], 0.99) == 5.0


def test_the_bound_lies_above_the_plain_ratio_of_like_samples() -> None:
    windows = [[1.0 + 0.01 * (i * 7 % 13) for i in range(k, k + 30)] for k in range(8)]
    everything = [each for window in windows for each in window]
    plain = quantile(everything, 0.5) / quantile(everything, 0.5)
    assert ratio_upper_bound(windows, windows, 0.5) >= plain
    assert ratio_upper_bound(windows, windows, 0.5) < 1.1
