from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.faults.kinds import LastingFault, all_kinds, chosen_kinds
from bench.chaos.schedule import fault_schedule
from realm.errors import BadSettings

KINDS = all_kinds()


def test_faults_come_as_often_as_planned_and_by_their_weights() -> None:
    planned = fault_schedule(KINDS, seed=3, seconds=30_000.0, mean=10.0, longest=30.0)
    assert len(planned) == 3000
    total = sum(kind.weight for kind in KINDS.values())
    for name, kind in KINDS.items():
        share = sum(each.kind == name for each in planned) / len(planned)
        assert share == pytest.approx(kind.weight / total, abs=0.05)


@given(st.integers(0, 1000), st.floats(1.0, 3000.0), st.integers(0, 3), st.floats(2.0, 120.0))
def test_a_schedule_follows_from_its_seed_and_holds_each_kind(
    seed: int, seconds: float, least: int, longest: float
) -> None:
    planned = fault_schedule(KINDS, seed, seconds, 10.0, longest, least)
    assert planned == fault_schedule(KINDS, seed, seconds, 10.0, longest, least)
    assert all(before.at <= after.at for before, after in pairwise(planned))
    assert all(0.0 <= each.at <= seconds and 0.0 <= each.draw < 1.0 for each in planned)
    for name, kind in KINDS.items():
        of_kind = [each for each in planned if each.kind == name]
        assert len(of_kind) >= least
        low, high = kind.lasts if issubclass(kind, LastingFault) else (0.0, 0.0)
        assert all(min(low, longest) <= each.seconds <= min(high, longest) for each in of_kind)


def test_kinds_are_chosen_and_left_out_by_name() -> None:
    assert chosen_kinds("", "") == KINDS
    assert list(chosen_kinds("stop, kill", "")) == ["kill", "stop"]
    assert chosen_kinds("", "kill").keys() == KINDS.keys() - {"kill"}
    with pytest.raises(BadSettings, match="there is no fault kil; choose among"):
        chosen_kinds("kil", "")
