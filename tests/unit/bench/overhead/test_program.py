"""The ratio of two gateways: paired, and robust to bursts of other processes."""

import numpy as np
import pytest

from bench.overhead.program import Turn, added_ms, ratio


def test_a_burst_on_some_turns_does_not_move_it() -> None:
    rng = np.random.default_rng(3)
    control = 100 * rng.normal(1, 0.02, 80)
    treated = control * 0.95 * rng.normal(1, 0.01, 80)
    quiet = ratio(treated, control, 0)
    disturbed = treated.copy()
    disturbed[:8] /= 4
    found = ratio(disturbed, control, 0)
    assert quiet["ratio"] == pytest.approx(0.95, abs=0.005)
    assert found["ratio"] == pytest.approx(quiet["ratio"], abs=0.005)
    assert found["low"] < found["ratio"] < found["high"]


def test_what_falls_on_both_of_a_pair_cancels() -> None:
    machine = np.random.default_rng(4).uniform(0.2, 1.0, 40)
    found = ratio(90 * machine, 100 * machine, 0)
    assert found == {key: pytest.approx(0.9) for key in ("ratio", "low", "high")}


def test_what_is_added_is_that_of_most_rounds() -> None:
    control = [Turn(1.0, 1.0, alone) for alone in (2.0, 2.1, 2.0, 9.0, 2.2)]
    treated = [Turn(1.0, 1.0, alone) for alone in (2.2, 2.3, 7.0, 2.1, 2.4)]
    assert added_ms(treated, control) == pytest.approx(0.2)
