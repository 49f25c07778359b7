"""Words answer until there are vectors: with real Redis, Qdrant Edge, Celery, Delta."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from realm.model.relevance import Relevance
from realm.records.controls import damage_of
from realm.records.states import State
from realm.search.queries import QueryMaker
from services.indexer.build.lifecycle import HEAL, VECTORS, WORDS
from tests.integration.indexing import DEADLINE, Bench, document

DOCUMENTS = [document(number) for number in range(40)]


def found_by_words(bench: Bench, text: str, generation: int) -> list[str]:
    """Documents, best first, as a gateway asks for them; a word of each is in the text."""
    made = bench.indexer.generations.get(generation)
    maker = QueryMaker.of(bench.store, made, Relevance(1.0))
    query = maker.query(text, np.zeros(made.vector_size, np.float32))
    (hits,) = bench.indexer.index.search(made.collection, [query], 5)
    assert all(hit.words > 0 for hit in hits)
    return [hit.passage.document_id for hit in hits]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Generation 1 is live, of words alone; no embedder runs."""
    bench = make_bench(words_first=True)
    bench.indexer.start()
    bench.write(DOCUMENTS)
    bench.publish(step=5)
    bench.until_live(1)
    return bench


def test_words_are_live_before_any_embedder_has_run(bench: Bench) -> None:
    made = bench.indexer.generations.get(1)
    assert made.words_alone
    assert made.why == WORDS
    assert found_by_words(bench, DOCUMENTS[7].text, 1)[0] == "document-7"
    events = bench.indexer.generations.events(1)
    report = next(each.report for each in events if each.report.get("sampled"))
    assert report["count"] == report["expected_count"] == bench.count(1)
    assert report["recall@10"] == 1.0
    assert report["sample_mismatches"] == 0
    live = bench.indexer.status.now().live
    assert live.words_alone
    assert live.lag_steps == 5, "no vectors are no fresh ones"
    assert live.lag.ToNanoseconds() > 0
    assert not bench.store.files("vectors")


def test_writes_and_deletes_are_found_by_words_without_an_embedder(bench: Bench) -> None:
    bench.write([document(950), document(6, edition=1)])
    bench.until_applied(bench.delete("document-8"))
    assert found_by_words(bench, document(950).text, 1)[0] == "document-950"
    assert found_by_words(bench, document(6, edition=1).text, 1)[0] == "document-6"
    assert "document-8" not in found_by_words(bench, DOCUMENTS[8].text, 1)
    assert bench.indexer.replication.points(1) == bench.count(1)
    for _ in range(6):  # every file, and the two steps
        assert not bench.indexer.integrity.sample(bench.indexer.generations.get(1))


def test_vectors_replace_words_and_a_rollback_goes_back_to_them(bench: Bench) -> None:
    bench.until_applied(bench.write([document(950)]))
    bench.start_worker()
    bench.until_live(2)
    made = bench.indexer.generations.get(2)
    assert (made.snapshot, made.why) == (1, VECTORS)
    assert bench.documents_found(document(950).text, 2)[0] == "document-950"
    assert bench.count(1) == bench.count(2)
    report = bench.indexer.generations.events(2)
    figures = {name for event in report for name in event.report}
    assert "probe_recall@5" in figures
    assert not [each for each in figures if each.startswith("live_")], "words are no measure"
    bench.until(lambda: bench.indexer.generations.state(1) is State.RETAINED, "words are retained")
    version = bench.write([document(951)])
    bench.until(lambda: bench.indexer.replication.applied(1) == version, "words follow")
    assert bench.indexer.committer.roll_back("worse answers", DEADLINE) == 1
    assert found_by_words(bench, document(951).text, 1)[0] == "document-951"
    assert bench.indexer.status.now().live.words_alone
    assert bench.indexer.status.now().paused


def test_damaged_words_are_made_again(bench: Bench) -> None:
    points = bench.count(1)
    bench.lose_points(1, "document-3", "document-4")
    bench.until(lambda: bool(damage_of(bench.store, 1)), "it is noticed")
    bench.until(lambda: bench.live() > 1, "another is live")
    made = bench.indexer.generations.get(bench.live())
    assert (made.why, made.heals, made.words_alone) == (HEAL, 1, True)
    given_up = bench.indexer.generations.get(2)
    assert given_up.why == VECTORS
    assert bench.count(made.number) == points
    assert found_by_words(bench, DOCUMENTS[3].text, made.number)[0] == "document-3"


def test_a_leader_that_follows_goes_on_with_words_and_builds_the_vectors(bench: Bench) -> None:
    bench.until_applied(bench.write([document(950)]))
    bench.restart_indexer()
    version = bench.write([document(951)])
    bench.until_applied(version)
    assert found_by_words(bench, document(951).text, 1)[0] == "document-951"
    bench.start_worker()
    bench.until_live(bench.indexer.generations.numbers()[-1])
    assert not bench.indexer.generations.get(bench.live()).words_alone
    assert bench.documents_found(document(951).text)[0] == "document-951"
