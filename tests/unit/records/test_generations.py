"""Generations: events, applied versions, and the commit."""

import threading
from dataclasses import asdict, replace

import pytest

from realm.errors import Conflict
from realm.records.generation import Generation, LiveEntry
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.records.weighing import Weighing
from tests.unit.indexer.examples import generation


@pytest.fixture
def generations(store: Store) -> Generations:
    return Generations(store)


def make(number: int, corpus_version: int = 5) -> Generation:
    return generation(number, version=corpus_version, files=("passages/f/001-000/a.arrow",))


def test_a_number_is_given_once(generations: Generations) -> None:
    generations.create(make(1))
    assert generations.next_number() == 2
    with pytest.raises(Conflict):
        generations.create(make(1))


def test_a_manifest_comes_back_equal(store: Store, generations: Generations) -> None:
    generations.create(make(1))
    assert Generations(store).get(1) == make(1)


def test_the_state_is_the_newest_event(generations: Generations) -> None:
    generations.create(make(1))
    assert generations.state(1) is None
    generations.record(1, State.BUILDING)
    generations.record(1, State.VALIDATING, report={"count": 3.0})
    assert generations.state(1) == State.VALIDATING
    assert [event.state for event in generations.events(1)] == [State.BUILDING, State.VALIDATING]
    assert generations.events(1)[1].report == {"count": 3.0}


def test_applied_starts_at_the_manifest_and_never_goes_back(generations: Generations) -> None:
    generations.create(make(1, corpus_version=5))
    assert generations.applied(1) == 5
    generations.record_applied(1, 9)
    generations.record_applied(1, 7)
    assert generations.applied(1) == 9


def test_the_second_commit_after_the_same_entry_is_refused(generations: Generations) -> None:
    first = generations.commit(1, after=None, by="a", why="refresh")
    generations.commit(2, after=first, by="a", why="refresh")
    with pytest.raises(Conflict):
        generations.commit(3, after=first, by="b", why="refresh")
    live = generations.live()
    assert live
    assert live.generation == 2
    assert [entry.generation for entry in generations.live_history()] == [1, 2]


def test_of_many_leaders_exactly_one_commits(store: Store) -> None:
    committed: list[int] = []
    barrier = threading.Barrier(6)

    def commit(number: int) -> None:
        barrier.wait(10)
        try:
            Generations(store).commit(number, after=None, by=str(number), why="refresh")
        except Conflict:
            return
        committed.append(number)

    threads = [threading.Thread(target=commit, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    live = Generations(store).live()
    assert live
    assert committed == [live.generation]


def test_who_takes_over_repeats_what_is_live_with_when_and_why(store: Store) -> None:
    generations = Generations(store)
    first = generations.commit(1, after=None, by="a", why="refresh", term=1)
    generations.fence(2, 2, "b")
    assert generations.live() == replace(first, sequence=2, by="b", term=2)


def test_who_takes_over_before_anything_is_live_fences_the_first_commit(store: Store) -> None:
    before, after = Generations(store), Generations(store)
    after.fence(2, 2, "b")
    with pytest.raises(Conflict):  # it was in the middle of it
        before._put(LiveEntry(1, 1, 0.0, "a", "refresh", 1))
    with pytest.raises(Conflict):
        before.commit(1, after=None, by="a", why="refresh", term=1)
    assert after.live() is None
    after.fence(2, 2, "b")
    made = after.commit(2, after=None, by="b", why="refresh", term=2)
    assert (made.sequence, before.live(), before.live_history()) == (2, made, [made])


def test_a_manifest_of_an_older_release_opens(store: Store) -> None:
    raw = asdict(make(1))
    for newer in ("term", "average_terms", "forced", "request", "replaces", "k1"):
        del raw[newer]
    store.write_json("generations/00000001/manifest.json", raw)
    found = Generations(store).get(1)
    assert found == make(1)
    assert (found.request, found.replaces) == (0, None)
    assert found.weighing == Weighing(0.0, 1.2), "what releases weighed by that did not say so"
