"""Schedules are pure: the same seed and step give the same, in any process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.schedule import Cadence, chance


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
