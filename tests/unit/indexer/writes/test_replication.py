from __future__ import annotations

import pytest

from realm.records.generations import Generations, State
from realm.records.store import Store
from services.indexer.writes.replication import Following
from tests.unit.indexer.examples import create


@pytest.fixture
def following(store: Store) -> Following:
    """Generation 1 is live at version 5; 2 is a candidate whose corpus is that of version 3."""
    live = create(store, 1, State.LIVE, version=1)
    create(store, 2, State.BUILDING, version=3)
    Generations(store).record_applied(1, 5)
    following = Following(Generations(store))
    following.keep({1: live}, live=1)
    return following


def advance(following: Following, number: int, version: int) -> None:
    with following.lock:
        following.advance(number, version)


def candidate(store: Store):  # type: ignore[no-untyped-def]
    return Generations(store).get(2)


def test_live_follows_alone_while_the_candidate_loads(following: Following) -> None:
    assert [generation.number for generation in following.order()] == [1]
    assert following.applied(1) == 5
    assert following.applied(2) is None
    assert following.may_apply(1, 9)


def test_the_candidate_goes_first_and_live_waits_once_it_has_caught_up(
    following: Following, store: Store
) -> None:
    following.put_ahead(candidate(store), 3)
    assert [generation.number for generation in following.order()] == [2, 1]
    assert not following.joined
    assert following.may_apply(1, 6), "a candidate that is still behind must not hold live"
    advance(following, 2, 5)
    assert following.joined
    assert not following.may_apply(1, 6)
    advance(following, 2, 6)
    assert following.may_apply(1, 6)


def test_no_switch_may_lose_a_write(following: Following, store: Store) -> None:
    assert not following.may_go_live(2)
    following.put_ahead(candidate(store), 3)
    assert not following.may_go_live(2)
    advance(following, 2, 5)
    assert following.may_go_live(2)


def test_a_candidate_loaded_again_must_reach_what_it_had_before(
    following: Following, store: Store
) -> None:
    Generations(store).record_applied(2, 8)
    following.put_ahead(candidate(store), 3)
    advance(following, 2, 6)
    assert not following.may_go_live(2)
    advance(following, 2, 8)
    assert following.may_go_live(2)


def test_live_goes_on_alone_when_released_or_when_the_candidate_is_given_up(
    following: Following, store: Store
) -> None:
    following.put_ahead(candidate(store), 3)
    advance(following, 2, 5)
    following.release()
    assert following.may_apply(1, 6)
    advance(following, 1, 7)
    assert not following.joined
    advance(following, 2, 7)
    assert not following.may_apply(1, 8), "it has caught up again"
    following.drop(2)
    assert following.may_apply(1, 8)
    assert following.applied(2) is None


def test_after_the_commit_the_candidate_is_live_and_the_old_one_follows(
    following: Following, store: Store
) -> None:
    following.put_ahead(candidate(store), 3)
    advance(following, 2, 5)
    generations = Generations(store)
    following.keep({1: generations.get(1), 2: generations.get(2)}, live=2)
    assert following.ahead is None
    assert [generation.number for generation in following.order()] == [2, 1]
    assert following.applied(2) == 5
    following.keep({2: generations.get(2)}, live=2)
    assert following.applied(1) is None


def test_steps_of_the_one_ahead_are_remembered_for_the_gate(
    following: Following, store: Store
) -> None:
    following.put_ahead(candidate(store), 3)
    advance(following, 2, 4)
    advance(following, 2, 6)
    assert following.steps(2) == [(3, 4), (4, 6)]


def test_the_retained_one_never_passes_live(following: Following, store: Store) -> None:
    retained = create(store, 3, State.RETAINED, version=1)
    Generations(store).record_applied(3, 5)
    following.keep({1: Generations(store).get(1), 3: retained}, live=1)
    assert not following.may_apply(3, 6), "a gateway that still answers with it would show 6"
    advance(following, 1, 6)
    assert following.may_apply(3, 6)
    following.put_ahead(retained)
    assert following.may_apply(3, 7), "a rollback to it is asked for"


def test_the_retained_one_waits_for_a_live_one_that_does_not_follow(
    following: Following, store: Store
) -> None:
    retained = create(store, 3, State.RETAINED, version=1)
    following.keep({3: retained}, live=1)
    assert following.may_apply(3, 5)
    assert not following.may_apply(3, 6)
