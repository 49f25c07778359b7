"""Schedules are pure: the same seed and step give the same, in any process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.schedule import Cadence, chance, is_masked_lm, warm_up


def test_warm_up_rises_evenly_to_one() -> None:
    factors = [warm_up(step, 3) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_whole() -> None:
    assert warm_up(1, 0) == 1.0


def test_masked_lm_steps_have_the_share_asked_for() -> None:
    chosen = sum(is_masked_lm(7, step, 0.25) for step in range(4000))
    assert 0.22 < chosen / 4000 < 0.28


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 100)])
def test_shares_at_the_ends_are_exact(share: float, expected: int) -> None:
    assert sum(is_masked_lm(0, step, share) for step in range(100)) == expected


@given(st.integers(), st.integers(0), st.text())
def test_chance_repeats_itself(seed: int, step: int, about: str) -> None:
    assert chance(seed, step, about).random() == chance(seed, step, about).random()


def test_chance_differs_by_step_and_purpose() -> None:
    drawn = {chance(0, step, about).random() for step in range(50) for about in "ab"}
    assert len(drawn) == 100


def test_cadence_wants_both_steps_and_seconds() -> None:
    cadence = Cadence(every_steps=10, min_seconds=60, last_step=0, last_time=0)
    assert not cadence.due(9, 100)
    assert not cadence.due(10, 59)
    assert cadence.due(10, 60)
    cadence.happened(10, 60)
    assert not cadence.due(20, 119)
    assert cadence.due(27, 121)
