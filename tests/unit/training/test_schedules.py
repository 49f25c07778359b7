"""Courses of the learning rate: laws of each, and the figures of the papers they come from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.training.optimizer import (
    ScheduleName,
    auxiliary_weight,
    rate_factor,
    slanted_triangular,
    triangular_share,
    unfrozen_layers,
    warm_up,
)

NAMES: tuple[ScheduleName, ...] = ("constant", "linear", "cosine", "slanted")


def test_warm_up_rises_evenly_to_one() -> None:
    factors = [warm_up(step, 3) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_whole() -> None:
    assert warm_up(1, 0) == 1.0


def test_linear_decay_falls_evenly_after_the_warm_up() -> None:
    factors = [rate_factor("linear", step, 1, 5) for step in range(1, 6)]
    assert factors == [0.5, 1.0, 0.75, 0.5, 0.25]


def test_cosine_decay_is_half_way_down_in_the_middle() -> None:
    assert rate_factor("cosine", 1, 0, 100) == 1.0
    assert rate_factor("cosine", 51, 0, 100) == pytest.approx(0.5)
    assert rate_factor("cosine", 100, 0, 100) < 0.001


def test_slanted_triangle_is_ulmfits_equation_3() -> None:
    # T = 100, cut_frac = 0.1, ratio = 32: the cut is at step 10.
    assert slanted_triangular(0, 100) == pytest.approx(1 / 32)
    assert slanted_triangular(5, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(10, 100) == 1.0
    assert slanted_triangular(55, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(100, 100) == pytest.approx(1 / 32)


@given(st.sampled_from(NAMES), st.integers(1, 5000), st.integers(0, 500), st.integers(1, 4000))
def test_every_factor_is_positive_and_at_most_one(
    name: ScheduleName, step: int, warmup: int, total: int
) -> None:
    assert 0 < rate_factor(name, step, warmup, total) <= 1


@given(st.sampled_from(NAMES[1:]), st.integers(0, 200), st.integers(300, 2000))
def test_what_decays_never_rises_again(name: ScheduleName, warmup: int, total: int) -> None:
    after = [rate_factor(name, step, warmup, total) for step in range(201, total + 20)]
    assert all(earlier >= later for earlier, later in pairwise(after))


def test_layers_thaw_from_the_top_one_at_a_time() -> None:
    assert [unfrozen_layers(step, 2, 3) for step in range(1, 8)] == [1, 1, 2, 2, 3, 3, 3]
    assert unfrozen_layers(1, 0, 3) == 3


def test_the_auxiliary_weight_halves_every_half_life() -> None:
    weights = [auxiliary_weight(step, 0.2, 10) for step in (1, 11, 21)]
    assert weights == pytest.approx([0.2, 0.1, 0.05])


def test_triangle_rises_then_falls_to_its_floor() -> None:
    factors = [triangular_share(done / 100, 0.1, 0.01) for done in range(101)]
    assert factors[0] == factors[100] == 0.01
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(a < b for a, b in pairwise(factors[1:11]))
    assert all(a > b for a, b in pairwise(factors[10:99]))
    assert triangular_share(0.0, 0.0, 0.01) == 1.0
