"""Filters hold in every generation: through writes, rebuilds, rollbacks and a healed index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from realm.corpus.documents import Document
from realm.filters import matches, none_of, where
from realm.records.states import State
from realm.retrieval import Retrieval
from realm.search.vector_index import Query
from realm.v1.types_pb2 import Filter
from tests.integration.indexing import Bench, document

COUNT = 40
FILTERS = (
    where("tenant=acme"),
    where("tenant=acme|globex", "year>=2010"),
    where("year>=2005", "year<2015"),
    where("day>2020-01-20"),
    none_of("tenant=acme", "year"),
    where("!tenant"),
)


def about(number: int, edition: int = 0) -> Document:
    """Its metadata and their edition; the text is the same in every edition."""
    plain = document(number)
    metadata = {
        "tenant": ("acme", "globex", "initech")[(number + edition) % 3],
        "year": str(2000 + (number + edition) % 20),
        "day": f"2020-01-{1 + (number + 7 * edition) % 28:02d}",
    }
    missing = "tenant" if number % 7 == 0 else "year" if number % 5 == 0 else ""
    metadata.pop(missing, None)
    return Document(plain.id, plain.title, plain.text, metadata)


def found(bench: Bench, generation: int, given: Filter) -> set[str]:
    """The documents of all passages that pass, as the collection finds them."""
    made = bench.indexer.generations.get(generation)
    vector = np.ones(made.vector_size, np.float32)
    asked = Query(vector, retrieval=Retrieval.DENSE, filter=given)
    hits = bench.indexer.index.search(made.collection, [asked], 1_000)[0]
    return {hit.passage.document_id for hit in hits}


def check(bench: Bench, generation: int, documents: dict[str, Document]) -> None:
    for given in FILTERS:
        passing = {each.id for each in documents.values() if matches(given, each.metadata)}
        assert 0 < len(passing) < len(documents)
        assert found(bench, generation, given) == passing


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


def test_filters_hold_in_every_generation(bench: Bench) -> None:
    documents = {each.id: each for each in map(about, range(COUNT))}
    bench.start()
    bench.write(list(documents.values()))
    bench.publish(step=0)
    bench.until_live(1)
    assert bench.indexer.generations.get(1).ranges
    check(bench, 1, documents)

    # Metadata alone change: no passage has another text, and no vector is made again.
    edited = [about(number, edition=1) for number in range(0, COUNT, 4)]
    documents |= {each.id: each for each in edited}
    bench.write(edited)
    documents |= {"document-500": about(500)}
    documents.pop("document-3")
    bench.write([documents["document-500"]])
    bench.until_applied(bench.delete("document-3"))
    check(bench, 1, documents)

    bench.publish(step=40)
    bench.until_live(2)
    check(bench, 2, documents)

    late = about(9, edition=2)
    documents[late.id] = late
    bench.until_applied(bench.write([late]))
    bench.until(lambda: bench.indexer.generations.applied(1) >= bench.applied(), "1 follows")
    for generation in (1, 2):  # the retained one follows every write
        check(bench, generation, documents)
    assert bench.indexer.committer.roll_back("to look", timeout=30) == 1
    check(bench, 1, documents)
    bench.indexer.controls.pause(False, "")

    # A lost collection is made again from the generation's files.
    bench.lose_collection(1)
    bench.until(lambda: bench.live() > 2, "another generation takes its place")
    live = bench.live()
    bench.until(lambda: bench.indexer.generations.state(live) is State.LIVE, "it says so")
    assert bench.indexer.generations.get(live).ranges
    check(bench, live, documents)
