"""The gate before the retriever: shut to noise, open to what helps."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.objectives.masked_lm import MIN_GAIN
from realm.objectives.signal_gate import SignalGate


def test_gate_opens_on_a_steady_positive_signal_only_after_enough_of_it() -> None:
    gate = SignalGate(least=3)
    states = []
    for _ in range(4):
        gate.observe(0.5)
        states.append(gate.open)
    assert states == [False, False, True, True]


def _opened_at(gate: SignalGate, mean: float, spread: float, seed: int) -> int | None:
    """The step, of 500, at which a normal signal opens the gate."""
    rng = random.Random(seed)
    for step in range(1, 501):
        gate.observe(rng.gauss(mean, spread))
        if gate.open:
            return step
    return None


@pytest.mark.parametrize("spread", [0.25, 0.02], ids=["a batch of 2", "a batch of hundreds"])
def test_gate_of_the_words_seldom_opens_by_chance(spread: float) -> None:
    """Measured with an untrained head and passages by chance: −0.008 a step, deviation 0.25."""
    opened = [
        seed
        for seed in range(400)
        if _opened_at(SignalGate(MIN_GAIN), -0.008, spread, seed) is not None
    ]
    assert len(opened) <= 0.02 * 400  # below 1% in truth


@pytest.mark.parametrize(("gain", "soon"), [(0.3, 40), (0.1, 400)])
def test_gate_of_the_words_opens_soon_when_passages_help(gain: float, soon: int) -> None:
    opened = [_opened_at(SignalGate(MIN_GAIN), gain, 0.25, seed) or 999 for seed in range(60)]
    assert sorted(opened)[54] <= soon  # nine runs of ten


def test_a_gate_of_an_older_release_begins_anew() -> None:
    gate = SignalGate()
    gate.restore({"average": 5.0, "seen": 100})
    assert (gate.seen, gate.open) == (0, False)


def test_gate_shuts_again_when_the_signal_turns() -> None:
    gate = SignalGate(least=1, decay=0.5)
    gate.observe(1.0)
    assert not gate.open  # one observation has no standard error
    gate.observe(1.0)
    assert gate.open
    for _ in range(5):
        gate.observe(-1.0)
    assert not gate.open


def test_gate_ignores_what_is_no_number() -> None:
    gate = SignalGate()
    gate.observe(math.nan)
    gate.observe(math.inf)
    assert gate.seen == 0
    assert gate.average == 0.0


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60))
def test_gate_average_stays_within_what_it_saw(signals: list[float]) -> None:
    gate = SignalGate()
    for signal in signals:
        gate.observe(signal)
    assert min(signals) - 1e-9 <= gate.average <= max(signals) + 1e-9
