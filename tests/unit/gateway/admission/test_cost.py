"""What batches cost, as learned from those that were timed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.admission.cost import OUTLIER, TRUSTED, Cost, Departures

FULL = 512.0
sizes = st.lists(st.integers(1, 600), min_size=1, max_size=60)
seconds = st.floats(1e-6, 10.0)


def learned(batches: Sequence[tuple[float, float]], prior: float = 1e-3) -> Cost:
    cost = Cost(prior, FULL)
    for units, took in batches:
        cost.learn(units, took)
    return cost


def test_until_something_is_measured_the_prior_counts() -> None:
    assert Cost(0.25, FULL).alone(4) == 1.0
    assert Cost(0.25, FULL).queued(4) == 1.0


@given(sizes, st.floats(1e-6, 1e-2), st.floats(1e-6, 1.0))
def test_what_was_measured_replaces_the_prior(units: list[int], each: float, prior: float) -> None:
    cost = learned([(one, each * one) for one in units], prior)
    assert cost.alone(100) == pytest.approx(100 * each, rel=1e-6)


def test_a_fixed_part_is_told_apart_where_batches_differ() -> None:
    cost = learned([(one, 0.005 + 1e-4 * one) for _ in range(20) for one in (10, 100, 500)])
    assert cost.alone(0) == pytest.approx(0.005, rel=0.1)
    assert cost.alone(300) == pytest.approx(0.035, rel=0.05)
    # Of full batches only a share of the fixed part is an item's own.
    assert cost.queued(10) == pytest.approx(10 * (1e-4 + 0.005 / FULL), rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 600), seconds), min_size=1, max_size=60))
def test_costs_are_never_negative_and_rise_with_work(batches: list[tuple[int, float]]) -> None:
    cost = learned([(float(units), took) for units, took in batches])
    amounts = [cost.alone(units) for units in range(0, 1000, 50)]
    assert amounts == sorted(amounts)
    assert amounts[0] >= 0
    assert cost.queued(FULL) == pytest.approx(cost.alone(FULL))


@given(st.floats(1e-4, 1e-2), st.floats(1e-4, 1e-2))
def test_a_change_of_speed_is_learned(before: float, after: float) -> None:
    cost = learned([(100, 100 * before)] * 50 + [(100, 100 * after)] * 300)
    assert cost.alone(100) == pytest.approx(100 * after, rel=0.02)


def test_a_machine_that_stood_still_is_soon_forgotten() -> None:
    cost = learned([(100, 0.1)] * TRUSTED + [(100, 3600.0)])
    assert cost.alone(100) < 0.1 * OUTLIER
    for _ in range(100):
        cost.learn(100, 0.1)
    assert cost.alone(100) == pytest.approx(0.1, rel=0.1)


@given(st.integers(1, 40), st.floats(0.001, 0.5), st.integers(1, 200))
def test_work_beside_other_work_costs_what_the_rate_of_its_ends_says(
    beside: int, each: float, ends: int
) -> None:
    """`beside` pieces are always being done, and one ends every `each` seconds."""
    cost = Cost(1.0, 1.0)
    departures = Departures(cost)
    for _ in range(beside):
        departures.begin(0.0)
    for number in range(1, ends + 1):
        departures.begin(number * each)
        departures.end(number * each, done=True)
    for _ in range(beside):
        departures.end(ends * each, done=True)
    if ends >= Departures.TOGETHER:
        assert cost.alone(1) <= each * (1 + 1e-6)


def test_what_fails_or_waits_idle_teaches_nothing() -> None:
    cost = Cost(1.0, 1.0)
    departures = Departures(cost)
    departures.begin(0.0)
    departures.end(60.0, done=False)
    assert cost.alone(1) == 1.0
    for number in range(5):
        departures.begin(100.0 * number)
        departures.end(100.0 * number + 0.5, done=True)
    assert cost.alone(1) == pytest.approx(0.5)
