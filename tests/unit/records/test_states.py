"""A generation's states follow one another as the lifecycle has them."""

from __future__ import annotations

import pytest

from realm.errors import Conflict
from realm.records.generations import Generations
from realm.records.states import ENDED, FAILED, State, may_follow, phase_figures, phases_in
from realm.records.store import Store
from tests.unit.indexer.examples import create


def test_only_what_live_says_brings_back_what_ended() -> None:
    for ended in (*ENDED, State.DELETED):
        found = {after for after in State if may_follow(ended, after)}
        assert found - {ended, State.LIVE} <= {State.DELETED}


def test_what_was_live_is_neither_refused_nor_given_up() -> None:
    for before in (State.LIVE, State.RETAINED):
        assert not any(may_follow(before, after) for after in FAILED)


@pytest.mark.parametrize("late", [State.VALIDATING, State.REJECTED, State.RETAINED])
def test_a_late_leader_does_not_bring_back_an_abandoned_build(store: Store, late: State) -> None:
    create(store, 1, State.ABANDONED)
    generations = Generations(store)
    with pytest.raises(Conflict, match="is abandoned"):
        generations.record(1, late)
    assert generations.state(1) is State.ABANDONED


def test_phases_are_told_from_other_figures() -> None:
    report = {"recall@10": 1.0, **phase_figures({"embed": 4.0, "total": 5.0})}
    assert phases_in(report) == {"embed": 4.0, "total": 5.0}
