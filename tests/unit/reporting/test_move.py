"""What a move takes follows from what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.reporting.move import Measured, Tried, estimate

LIVE = Measured(1_000, 50.0, 10.0, 3_000_000, 1_600_000)
NOW = Tried(100, 1.0, 384)


def test_the_same_model_takes_what_it_took() -> None:
    found = estimate(LIVE, NOW, NOW, embedders=1, copies=3, same_cut=True)
    assert found.passages == 1_000
    assert found.embedding_seconds == pytest.approx(20.0)
    assert found.seconds == pytest.approx(30.0)
    assert found.store_bytes == LIVE.vector_bytes
    assert found.qdrant_bytes == 1_000 * 384 * 4 * 1.5 * 3
    assert found.qdrant_bytes_meanwhile == 3 * found.qdrant_bytes
    assert found.cost(3.6) == pytest.approx(0.02)


def test_a_model_of_other_passages_and_twice_the_width_is_dearer_in_all() -> None:
    other = Tried(150, 4.0, 768, bytes=440_000_000)
    found = estimate(LIVE, NOW, other, embedders=4, copies=1, same_cut=False)
    assert found.passages == 1_500
    assert found.embedding_seconds == pytest.approx(80.0)
    assert found.seconds == pytest.approx(20.0 + 30.0)
    assert found.store_bytes == 3 * LIVE.vector_bytes + 4_500_000 + 440_000_000


def test_without_a_recorded_rate_the_sample_s_own_counts() -> None:
    unknown = replace(LIVE, rate=None)
    found = estimate(unknown, NOW, Tried(100, 2.0, 384), embedders=1, copies=1, same_cut=True)
    assert found.embedding_seconds == pytest.approx(20.0)


@given(st.floats(0.1, 100), st.integers(1, 64))
def test_twice_as_slow_takes_twice_as_long_and_twice_the_embedders_half(
    seconds: float, embedders: int
) -> None:
    def embedding(seconds: float, embedders: int) -> float:
        other = Tried(100, seconds, 384)
        found = estimate(LIVE, NOW, other, embedders=embedders, copies=1, same_cut=True)
        return found.seconds - LIVE.others

    once = embedding(seconds, embedders)
    assert embedding(2 * seconds, embedders) == pytest.approx(2 * once)
    assert embedding(seconds, 2 * embedders) == pytest.approx(once / 2)
