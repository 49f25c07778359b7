from __future__ import annotations

import pytest

from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create


class Site(ReplicationState):
    """Live 1 is at version 5; candidate 2 is of the corpus at version 3; retained 3 is at 5."""

    def __init__(self, store: Store) -> None:
        self.generations = Generations(store)
        super().__init__(self.generations)
        create(store, 1, State.LIVE, version=1)
        create(store, 2, State.BUILDING, version=3)
        create(store, 3, State.RETAINED, version=1)
        for number in (1, 3):
            self.generations.record_applied(number, 5)
        self.serve(1, live=1)

    def serve(self, *numbers: int, live: int) -> None:
        self.set_serving({each: self.generations.get(each) for each in numbers}, live)

    def catch_up(self, *versions: int) -> None:
        """The candidate, through these versions."""
        self.start_catch_up(self.generations.get(2), 3)
        self.advance_all(2, *versions)

    def advance_all(self, number: int, *versions: int) -> None:
        with self.lock:
            for version in versions:
                self.advance(number, version)

    def in_order(self) -> list[int]:
        return [generation.number for generation in self.order()]


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


def test_live_follows_alone_while_the_candidate_loads(site: Site) -> None:
    assert site.in_order() == [1]
    assert (site.applied(1), site.applied(2)) == (5, None)
    assert site.may_apply(1, 9)
    assert not site.may_go_live(2)


def test_the_candidate_goes_first_and_gates_live_once_it_has_caught_up(site: Site) -> None:
    site.catch_up()
    assert site.in_order() == [2, 1]
    assert not site.may_go_live(2)
    assert site.may_apply(1, 6), "a candidate that is still behind must not hold live"
    site.advance_all(2, 5)
    assert site.may_go_live(2)
    assert not site.may_apply(1, 6)
    site.advance_all(2, 6)
    assert site.may_apply(1, 6)
    assert site.steps(2) == [(3, 5), (5, 6)], "the gate replays them"


def test_a_candidate_loaded_again_must_reach_what_it_had_before(site: Site) -> None:
    site.generations.record_applied(2, 8)
    site.catch_up(6)
    assert not site.may_go_live(2)
    site.advance_all(2, 8)
    assert site.may_go_live(2)


def test_the_candidate_must_reach_what_was_recorded_of_live_though_the_answer_was_lost(
    site: Site,
) -> None:
    site.catch_up(5)
    site.generations.record_applied(1, 6)
    assert site.applied(1) == 5
    assert not site.may_go_live(2), "gateways that read 6 would go back to 5"
    site.advance_all(2, 6)
    assert site.may_go_live(2)


def test_live_goes_on_alone_when_ungated_or_when_the_candidate_is_dropped(site: Site) -> None:
    site.catch_up(5)
    site.ungate()
    assert site.may_apply(1, 6)
    site.advance_all(1, 7)
    assert not site.gates_live
    site.advance_all(2, 7)
    assert not site.may_apply(1, 8), "it has caught up again"
    site.drop(2)
    assert site.may_apply(1, 8)
    assert site.applied(2) is None


def test_after_the_commit_the_candidate_is_live_and_the_old_one_follows(site: Site) -> None:
    site.catch_up(5)
    site.serve(1, 2, live=2)
    assert site.catching_up is None
    assert site.in_order() == [2, 1]
    assert site.applied(2) == 5
    site.serve(2, live=2)
    assert site.applied(1) is None


def test_the_retained_one_never_passes_live(site: Site) -> None:
    site.serve(1, 3, live=1)
    assert not site.may_apply(3, 6), "a gateway that still answers with it would show 6"
    site.advance_all(1, 6)
    assert site.may_apply(3, 6)
    site.start_catch_up(site.generations.get(3))
    assert site.may_apply(3, 7), "a rollback to it is requested"


def test_the_retained_one_waits_for_a_live_one_that_does_not_follow(site: Site) -> None:
    site.serve(3, live=1)
    assert site.may_apply(3, 5)
    assert not site.may_apply(3, 6)


def test_it_knows_what_follows_already(site: Site) -> None:
    assert site.is_serving({1}, 1)
    assert not site.is_serving({1, 3}, 1)
    assert not site.is_serving({1}, None)
    site.catch_up(5)
    assert site.is_serving({1}, 1), "the candidate follows besides"
    assert not site.is_serving({1, 2}, 2)
    site.serve(1, 2, live=2)
    assert site.is_serving({1, 2}, 2)
    site.drop(1)
    assert not site.is_serving({1, 2}, 2)
