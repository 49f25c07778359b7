from __future__ import annotations

import pytest

from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create


@pytest.fixture
def replication(store: Store) -> ReplicationState:
    """Generation 1 is live at version 5; 2 is a candidate whose corpus is that of version 3."""
    live = create(store, 1, State.LIVE, version=1)
    create(store, 2, State.BUILDING, version=3)
    Generations(store).record_applied(1, 5)
    replication = ReplicationState(Generations(store))
    replication.set_serving({1: live}, live=1)
    return replication


def advance(replication: ReplicationState, number: int, version: int) -> None:
    with replication.lock:
        replication.advance(number, version)


def candidate(store: Store):  # type: ignore[no-untyped-def]
    return Generations(store).get(2)


def test_live_follows_alone_while_the_candidate_loads(replication: ReplicationState) -> None:
    assert [generation.number for generation in replication.order()] == [1]
    assert replication.applied(1) == 5
    assert replication.applied(2) is None
    assert replication.may_apply(1, 9)


def test_the_candidate_goes_first_and_live_waits_once_it_has_caught_up(
    replication: ReplicationState, store: Store
) -> None:
    replication.start_catch_up(candidate(store), 3)
    assert [generation.number for generation in replication.order()] == [2, 1]
    assert not replication.gates_live
    assert replication.may_apply(1, 6), "a candidate that is still behind must not hold live"
    advance(replication, 2, 5)
    assert replication.gates_live
    assert not replication.may_apply(1, 6)
    advance(replication, 2, 6)
    assert replication.may_apply(1, 6)


def test_no_switch_may_lose_a_write(replication: ReplicationState, store: Store) -> None:
    assert not replication.may_go_live(2)
    replication.start_catch_up(candidate(store), 3)
    assert not replication.may_go_live(2)
    advance(replication, 2, 5)
    assert replication.may_go_live(2)


def test_a_candidate_loaded_again_must_reach_what_it_had_before(
    replication: ReplicationState, store: Store
) -> None:
    Generations(store).record_applied(2, 8)
    replication.start_catch_up(candidate(store), 3)
    advance(replication, 2, 6)
    assert not replication.may_go_live(2)
    advance(replication, 2, 8)
    assert replication.may_go_live(2)


def test_live_goes_on_alone_when_released_or_when_the_candidate_is_given_up(
    replication: ReplicationState, store: Store
) -> None:
    replication.start_catch_up(candidate(store), 3)
    advance(replication, 2, 5)
    replication.ungate()
    assert replication.may_apply(1, 6)
    advance(replication, 1, 7)
    assert not replication.gates_live
    advance(replication, 2, 7)
    assert not replication.may_apply(1, 8), "it has caught up again"
    replication.drop(2)
    assert replication.may_apply(1, 8)
    assert replication.applied(2) is None


def test_after_the_commit_the_candidate_is_live_and_the_old_one_follows(
    replication: ReplicationState, store: Store
) -> None:
    replication.start_catch_up(candidate(store), 3)
    advance(replication, 2, 5)
    generations = Generations(store)
    replication.set_serving({1: generations.get(1), 2: generations.get(2)}, live=2)
    assert replication.catching_up is None
    assert [generation.number for generation in replication.order()] == [2, 1]
    assert replication.applied(2) == 5
    replication.set_serving({2: generations.get(2)}, live=2)
    assert replication.applied(1) is None


def test_steps_of_the_one_ahead_are_remembered_for_the_gate(
    replication: ReplicationState, store: Store
) -> None:
    replication.start_catch_up(candidate(store), 3)
    advance(replication, 2, 4)
    advance(replication, 2, 6)
    assert replication.steps(2) == [(3, 4), (4, 6)]


def test_the_retained_one_never_passes_live(replication: ReplicationState, store: Store) -> None:
    retained = create(store, 3, State.RETAINED, version=1)
    Generations(store).record_applied(3, 5)
    replication.set_serving({1: Generations(store).get(1), 3: retained}, live=1)
    assert not replication.may_apply(3, 6), "a gateway that still answers with it would show 6"
    advance(replication, 1, 6)
    assert replication.may_apply(3, 6)
    replication.start_catch_up(retained)
    assert replication.may_apply(3, 7), "a rollback to it is asked for"


def test_the_retained_one_waits_for_a_live_one_that_does_not_follow(
    replication: ReplicationState, store: Store
) -> None:
    retained = create(store, 3, State.RETAINED, version=1)
    replication.set_serving({3: retained}, live=1)
    assert replication.may_apply(3, 5)
    assert not replication.may_apply(3, 6)
