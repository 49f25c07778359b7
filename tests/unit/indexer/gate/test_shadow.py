"""Users' searches, asked of the candidate and of live: how far they agree, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.filters import where
from realm.model.relevance import Relevance
from realm.records.generations import Generations
from realm.records.recorded_questions import RecordedQuestions
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.search.queries import QueryMaker
from realm.search.vector_index import Hit, IndexedPassage, Query
from services.indexer.gate.probes import SCHEMA, Probes
from services.indexer.gate.shadow import (
    BUDGET_SECONDS,
    Agreement,
    LiveSearch,
    RecentSearches,
    agreement,
    queries,
    with_searches,
)
from tests.unit.indexer.examples import Clock

names = st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=10)


def hits(found: Sequence[str]) -> list[Hit]:
    """Passages of these names, best first."""
    return [
        Hit(IndexedPassage(name, name, 1, 0, "", "", 0, 0, {}), product=1.0 / place, words=0.0)
        for place, name in enumerate(found, 1)
    ]


class Collections:
    """Two collections that find what they are told to, search by search, and take their time."""

    def __init__(self, seconds: float = 0.0, **found: Sequence[Sequence[str]]) -> None:
        self.found = found
        self.asked: list[str] = []
        self.clock = Clock()
        self._seconds = seconds

    def search(self, collection: str, asked: Sequence[Query], limit: int) -> list[list[Hit]]:
        self.asked.append(collection)
        self.clock.now += self._seconds
        return [hits(self.found[collection][int(query.vector[0])])[:limit] for query in asked]

    def compared(self) -> Agreement:
        found = self.compare()
        assert found is not None
        return found

    def compare(self) -> Agreement | None:
        rows = [
            Query(np.array([row], np.float32), relevance=Relevance(scale=2.0, word_weight=0.0))
            for row in range(len(self.found["mine"]))
        ]
        return agreement(
            self.search, ("mine", rows), ("theirs", rows), "passage_id", lambda: self.clock.now
        )


@given(pairs=st.lists(st.tuples(names, names), min_size=1, max_size=10))
def test_agreement_is_a_share_and_the_same_from_both_sides(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    mine, theirs = zip(*pairs, strict=True)
    one, other = (
        Collections(mine=first, theirs=second).compared()
        for first, second in ((mine, theirs), (theirs, mine))
    )
    assert one.searches == len(pairs)
    assert one.overlap == pytest.approx(other.overlap)
    assert one.same_first == other.same_first
    assert 0.0 <= one.overlap <= 1.0
    assert (one.score, one.live_score) == (other.live_score, other.score)
    assert (one.overlap == 1.0) is all(set(a) == set(b) for a, b in pairs)


def test_equals_agree_and_strangers_do_not() -> None:
    same = Collections(mine=["ab", "c"], theirs=["ab", "c"]).compared()
    assert (same.overlap, same.same_first) == (1.0, 1.0)
    assert (same.score, same.live_score) == (2.0, 2.0)
    strange = Collections(mine=["ab", "c"], theirs=["de", ""]).compared()
    assert (strange.overlap, strange.same_first) == (0.0, 0.0)
    half = Collections(mine=["ab"], theirs=["ba"]).compared()
    assert (half.overlap, half.same_first) == (1.0, 0.0)


def test_who_is_asked_first_changes_and_the_budget_ends_it() -> None:
    many = Collections(BUDGET_SECONDS / 10, mine=["a"] * 100, theirs=["a"] * 100)
    found = many.compared()
    assert many.asked[:4] == ["theirs", "mine", "mine", "theirs"]
    assert found.searches == 6
    assert found.seconds == pytest.approx(BUDGET_SECONDS / 10)


def test_without_searches_nothing_is_compared() -> None:
    assert Collections(mine=[], theirs=[]).compare() is None


def questions() -> pa.Table:
    row = {**dict.fromkeys(SCHEMA.names, ""), "question": "made?", "source": "held-out"}
    return pa.Table.from_pylist([row], schema=SCHEMA)


def test_without_searches_the_probe_questions_stay_as_they_are() -> None:
    assert with_searches(questions(), []).equals(questions())


def test_among_probe_questions_alone_there_is_no_search() -> None:
    found = Probes(questions(), np.eye(1, dtype=np.float32)).of_source("searched")
    assert queries(found, QueryMaker(found.relevance, None)) == []


def test_searches_are_asked_again_as_they_were_and_are_no_probes() -> None:
    reach = where("tenant=acme", "year>=1990")
    searches = [
        LiveSearch("where?", Retrieval.BM25, reach),
        LiveSearch("who?", Retrieval.HYBRID),
    ]
    table = with_searches(questions(), searches)
    both = Probes(table, np.eye(3, dtype=np.float32), relevance=Relevance(20.0, 1.0))
    assert both.of_source("held-out").questions["question"].to_pylist() == ["made?"]
    found = both.of_source("searched")
    first, second = queries(found, QueryMaker(found.relevance, None))
    assert (first.filter, second.filter) == (reach, None)
    assert [first.vector.tolist(), second.vector.tolist()] == [[0, 1, 0], [0, 0, 1]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def search(number: int) -> LiveSearch:
    return LiveSearch(f"question {number}", Retrieval.DENSE)


def test_the_newest_searches_are_kept(store: Store) -> None:
    recent = RecentSearches(store, 3)
    for number in range(5):
        recent.record([search(number)])
    assert recent.newest() == [search(number) for number in (2, 3, 4)]


def test_none_is_kept_unless_asked_for(store: Store) -> None:
    recent = RecentSearches(store, 0)
    recent.record([search(1)])
    assert recent.newest() == []


def test_what_is_forgotten_in_the_store_is_forgotten_here(store: Store) -> None:
    recent = RecentSearches(store, 3)
    recent.drop_forgotten()
    recent.record([search(1)])
    RecordedQuestions(store).forget(None, Generations(store))
    assert recent.newest() == []
    recent.record([search(2)])
    assert recent.newest() == [search(2)]
