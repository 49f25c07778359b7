"""The indexer with real Redis, Qdrant Edge, Celery and Delta: builds, swaps, writes, faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from realm.generations import State
from realm.store import Store
from tests.integration.indexing import Bench, document, make_bench

DOCUMENTS = [document(number) for number in range(80)]


@pytest.fixture
def bench(tmp_path: Path, store: Store, redis_url: str, qdrant_url: str) -> Iterator[Bench]:
    made = make_bench(tmp_path, store, redis_url, qdrant_url)
    try:
        yield made
    finally:
        made.close()


def test_first_build_goes_live_and_the_second_follows(bench: Bench) -> None:
    bench.indexer.start()
    bench.start_worker()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    first = bench.indexer.generations.get(1)
    assert len(first.passage_files) > 1
    assert bench.documents_found(DOCUMENTS[7].text)[0] == "document-7"

    bench.publish(step=40)
    bench.until_live(2)
    bench.until(lambda: bench.indexer.index.alias() == "passages-00000002", "alias follows")
    second = bench.indexer.generations.get(2)
    assert second.passage_files == first.passage_files
    assert bench.count(1) == bench.count(2)
    assert bench.indexer.generations.state(1) is State.RETAINED
    report = bench.indexer.generations.events(2)[2].report
    assert report["count"] == report["expected_count"] == bench.count(2)
    assert report["probe_recall@5"] > 0.8
