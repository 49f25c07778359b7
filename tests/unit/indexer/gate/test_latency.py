"""A slower index is distinguished from a noisy machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.search.vector_index import Query
from services.indexer.gate.latency import PAIRS, WARMING, compare_latency, measure

FACTOR = 2.0
seconds = st.floats(0.0, 10.0)


def noisy(rng: random.Random, typical: float) -> float:
    """A heavy tail, and now and then a pause of the whole machine."""
    pause = rng.uniform(0.5, 3.0) if rng.random() < 0.05 else 0.0
    return typical * rng.paretovariate(1.2) + pause


@pytest.mark.parametrize("typical", [0.001, 0.02, 0.5])
def test_equal_collections_pass_however_noisy_the_machine(typical: float) -> None:
    rng = random.Random(7)
    refused = 0
    for _ in range(500):
        pairs = [(noisy(rng, typical), noisy(rng, typical)) for _ in range(PAIRS)]
        candidate, live = zip(*pairs, strict=True)
        refused += compare_latency(candidate, live, FACTOR).refused
    assert refused == 0


@pytest.mark.parametrize("typical", [0.02, 0.5])
def test_eight_times_as_long_is_refused_on_a_noisy_machine(typical: float) -> None:
    rng = random.Random(8)
    for _ in range(50):
        pairs = [(8 * noisy(rng, typical), noisy(rng, typical)) for _ in range(PAIRS)]
        candidate, live = zip(*pairs, strict=True)
        assert compare_latency(candidate, live, FACTOR).refused


def test_a_difference_below_the_floor_is_no_fault() -> None:
    found = compare_latency([0.011] * PAIRS, [0.001] * PAIRS, FACTOR)
    assert not found.refused
    assert (found.candidate, found.live, found.slower) == (0.011, 0.001, 0)
    assert compare_latency([0.013] * PAIRS, [0.001] * PAIRS, FACTOR).refused


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=PAIRS))
def test_of_two_collections_at_most_one_is_refused_as_slower(
    pairs: list[tuple[float, float]],
) -> None:
    mine, theirs = zip(*pairs, strict=True)
    one, other = compare_latency(mine, theirs, 1.0), compare_latency(theirs, mine, 1.0)
    assert not (one.refused and other.refused)
    assert one.slower + other.slower <= len(pairs)


class Clock:
    """Each search takes what its collection takes; `searched` is who was asked, in order."""

    def __init__(self, takes: dict[str, Iterator[float]]) -> None:
        self.now = 0.0
        self.takes = takes
        self.searched: list[str] = []

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> None:
        assert len(queries) == 1
        self.now += next(self.takes[collection])
        self.searched.append(collection)


def test_the_first_searches_do_not_count_and_each_goes_first_every_other_time() -> None:
    def cold(first: float, then: float) -> Iterator[float]:
        yield from [first] * WARMING
        yield from [then] * PAIRS

    clock = Clock({"new": cold(9.0, 0.05), "old": cold(0.0, 0.04)})
    queries = [Query(np.zeros(2, np.float32))] * 3
    found = measure(clock.search, ("new", queries), ("old", queries), FACTOR, lambda: clock.now)
    assert found.candidate == pytest.approx(0.05)
    assert found.live == pytest.approx(0.04)
    assert not found.refused
    assert clock.searched[:4] == ["old", "new", "new", "old"]
    assert clock.searched.count("new") == clock.searched.count("old") == WARMING + PAIRS
