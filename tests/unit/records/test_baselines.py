from __future__ import annotations

from pathlib import Path

import pytest

from realm.records.baselines import PROBE_RECALL, READER_F1, GateBaselines
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from tests.unit.indexer.examples import create, generation, publish


@pytest.fixture
def history(store: Store, tmp_path: Path) -> Generations:
    """Accepted with R@5 .90, .95, .94; then one refused with .99."""
    generations = Generations(store)
    for number, figure in enumerate((0.90, 0.95, 0.94, 0.99), 1):
        publish(store, tmp_path / str(number), number)
        create(store, number, State.VALIDATING, snapshot=number)
        state = State.REJECTED if number == 4 else State.LIVE
        generations.record(number, state, "", {PROBE_RECALL: figure})
    return generations


def best(store: Store, live: Generation, memory: int = 5, snapshot: int = 9) -> int | None:
    references = GateBaselines(Generations(store), Snapshots(store), memory)
    found = references.best(generation(9, snapshot=snapshot), live)
    return found.number if found else None


def test_the_best_accepted_is_compared_with_and_nothing_refused(
    store: Store, history: Generations
) -> None:
    assert best(store, history.get(3)) == 2


def test_it_is_forgotten_after_a_while(store: Store, history: Generations) -> None:
    assert best(store, history.get(3), memory=1) is None


def test_nothing_is_compared_with_twice_or_with_itself(store: Store, history: Generations) -> None:
    assert best(store, history.get(2)) is None
    assert best(store, history.get(3), snapshot=2) is None


def test_a_snapshot_that_is_gone_cannot_be_compared_with(
    store: Store, history: Generations
) -> None:
    snapshots = Snapshots(store)
    snapshots.delete(snapshots.get(2))
    assert best(store, history.get(3)) is None


def test_the_first_generation_has_nothing_to_be_compared_with(
    store: Store, history: Generations
) -> None:
    candidate = generation(9, snapshot=9)
    references = GateBaselines(history, Snapshots(store), 5)
    assert references.best(candidate, None) is None
    assert references.of(candidate, None) == [candidate]
    assert [each.number for each in references.of(candidate, history.get(3))] == [9, 3, 2]


def test_the_best_reader_is_compared_with_beside_the_best_retriever(
    store: Store, history: Generations
) -> None:
    for number, figure in enumerate((0.80, 0.70, 0.75), 1):
        history.record(number, State.LIVE, "", {READER_F1: figure})
    references = GateBaselines(history, Snapshots(store), 5)
    candidate = generation(9, snapshot=9)
    assert [each.number for each in references.of(candidate, history.get(3))] == [9, 3, 2, 1]
    found = references.best(candidate, history.get(3), READER_F1)
    assert found is not None
    assert found.number == 1
    assert references.best(candidate, history.get(1), READER_F1) is None, "it is live"


def test_words_alone_are_no_measure_for_vectors(store: Store, history: Generations) -> None:
    """The first vectors are compared with nothing; after a rollback to words, the next are compared
    with the best that was accepted, be it of the words' own snapshot."""
    candidate, words = generation(9, snapshot=9), generation(5, snapshot=2, vector_size=0)
    references = GateBaselines(history, Snapshots(store), 5)
    assert [each.number for each in references.of(candidate, words)] == [9, 2]
    none_before = generation(1, snapshot=9)
    assert references.of(none_before, words) == [none_before]
