"""A deleted document is physically gone within its time, from every file and collection."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from realm.corpus.erasure import ErasureQuery, Trace, search_collections, search_store
from realm.records.states import State
from services.indexer.leader import housekeeping
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(40)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, make_bench: Callable[..., Bench]) -> Bench:
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 0.5)
    monkeypatch.setattr(housekeeping, "REMEMBERED_SECONDS", 1.0)
    made = make_bench(erase_within_seconds=4, retirement_seconds=1)
    made.start()
    return made


def traces(bench: Bench, wanted: ErasureQuery) -> list[Trace]:
    index = bench.indexer.index
    in_store = search_store(bench.store, wanted)
    return in_store + search_collections(index.collections(), index.count_of, wanted)


def due(bench: Bench) -> float:
    value = bench.registry.get_sample_value("realm_indexer_erasure_due_timestamp_seconds")
    assert value is not None
    return value


def test_deleted_documents_are_gone_within_the_time_and_nothing_else(bench: Bench) -> None:
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    bench.write([document(500), document(7, edition=1)])
    held_out = DOCUMENTS[3]
    texts = [DOCUMENTS[3].text[:60], document(500).text[:60]]
    gone = ErasureQuery(["document-3", "document-500"], texts)
    assert {each.place.split("/")[0] for each in traces(bench, gone)} >= {
        "corpus", "passages", "vectors", "passages-00000001",
    }  # fmt: skip

    version = bench.delete("document-3", "document-500")
    bench.until_applied(version)
    assert traces(bench, gone), "not yet"
    bench.until(lambda: due(bench) > 0, "it is known that it waits")
    bench.until(lambda: not traces(bench, gone), "nothing is left")
    bench.until(lambda: due(bench) == 0, "it is known that nothing waits")

    live = bench.live()
    assert live > 1, "indexes made with them were replaced"
    assert bench.count(live) >= len(DOCUMENTS) - 1
    for number in (0, 7, 39):
        kept = document(7, edition=1) if number == 7 else DOCUMENTS[number]
        assert bench.documents_found(kept.text)[0] == kept.id
    assert held_out.id not in bench.documents_found(held_out.text)
    # Written anew, it is as any other; and the table goes on where it was.
    version = bench.write([document(3, edition=1)])
    bench.until_applied(version)
    assert bench.documents_found(document(3, edition=1).text)[0] == "document-3"


def test_while_nothing_is_deleted_nothing_is_built_for_erasure(bench: Bench) -> None:
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    bench.write([document(number, edition=1) for number in range(5)])
    waited = time.monotonic() + 6
    bench.until(lambda: time.monotonic() > waited, "some rounds of housekeeping")
    generations = bench.indexer.generations
    assert generations.numbers() == [1]
    assert generations.state(1) is State.LIVE
