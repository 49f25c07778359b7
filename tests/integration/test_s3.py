"""Indexer and embedder with everything durable in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from realm.store import Store
from tests.integration.indexing import Bench, document, make_bench
from tests.s3 import S3Server

DOCUMENTS = [document(number) for number in range(20)]


@pytest.fixture
def bench(
    tmp_path: Path, redis_url: str, qdrant_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    server = S3Server()
    server.use(monkeypatch)
    store = Store.open(server.url, str(tmp_path / "copies"))
    made = make_bench(
        tmp_path, store, redis_url, qdrant_url,
        store_cache=str(tmp_path / "copies"), reconcile_seconds=1.0,
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()
        server.stop()


def test_generations_go_live_and_writes_follow_from_a_bucket(bench: Bench) -> None:
    bench.indexer.start()
    bench.start_worker()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    assert bench.documents_found(DOCUMENTS[7].text)[0] == "document-7"
    bench.write([document(500)])
    version = bench.delete("document-3")
    bench.until_applied(version)
    assert bench.documents_found(document(500).text)[0] == "document-500"
    assert "document-3" not in bench.documents_found(DOCUMENTS[3].text)

    bench.publish(step=40)
    bench.until_live(2)
    assert bench.count(1) == bench.count(2)
    assert bench.indexer.committer.roll_back("", timeout=30) == 1
    assert "document-3" not in bench.documents_found(DOCUMENTS[3].text)
