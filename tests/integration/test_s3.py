"""Indexer and embedder with everything durable in a bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.apparatus.s3 import Failure, S3Fault, S3Server
from realm.corpus.table import CorpusTable
from realm.errors import DependencyUnavailable
from realm.records.store import Store
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(20)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    made = S3Server()
    made.use(monkeypatch.setenv)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def bench(tmp_path: Path, server: S3Server, make_bench: Callable[..., Bench]) -> Bench:
    copies = str(tmp_path / "copies")
    return make_bench(
        Store.open(server.url, copies),
        store_cache=copies, reconcile_seconds=1.0, request_again_seconds=2.0,
    )  # fmt: skip


def test_generations_go_live_and_writes_follow_from_a_bucket(bench: Bench) -> None:
    bench.start()
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


@pytest.mark.slow
def test_a_slow_bucket_takes_longer_and_loses_nothing(bench: Bench, server: S3Server) -> None:
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    server.faults = [S3Fault(Failure.SLOW, seconds=0.1)]
    bench.publish(step=40)
    bench.until(lambda: 2 in bench.indexer.generations.numbers(), "a build begins")
    version = bench.write([document(500)])
    bench.delete("document-3")
    bench.until_live(2)
    server.faults = []
    bench.until_applied(version + 1)
    assert bench.documents_found(document(500).text)[0] == "document-500"
    assert "document-3" not in bench.documents_found(DOCUMENTS[3].text)
    assert bench.count(1) == bench.count(2)
    assert bench.indexer.generations.numbers() == [1, 2], "slowness alone ends no build"


def test_a_full_bucket_refuses_writes_and_the_refresh_goes_on_when_there_is_room(
    bench: Bench, server: S3Server
) -> None:
    bench.indexer.start()
    bench.start_worker("realm.delta")
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.start_worker("realm.embed")
    bench.until_live(1)
    version = bench.write([document(500)])
    bench.until_applied(version)
    bench.stop_workers()
    bench.publish(step=40)
    bench.until(lambda: 2 in bench.indexer.generations.numbers(), "a build begins")
    server.faults = [S3Fault(Failure.FULL)]
    bench.start_worker()
    with pytest.raises(DependencyUnavailable, match="send it again"):
        bench.write([document(600)], "sent twice")
    before = server.hits[Failure.FULL]
    bench.until(lambda: server.hits[Failure.FULL] > before + 10, "indexer or embedder try again")
    assert bench.live() == 1
    assert bench.documents_found(document(500).text)[0] == "document-500"

    server.faults = []
    assert bench.write([document(600)], "sent twice") > version
    bench.until_live(2)
    bench.until_applied(bench.indexer.corpus.version())
    for number in (7, 500, 600):
        assert bench.documents_found(document(number).text)[0] == f"document-{number}"


@pytest.mark.parametrize("failure", [Failure.LOST_REPLY, Failure.LATE_ERROR])
def test_a_bucket_whose_answers_are_lost_loses_nothing_and_writes_nothing_twice(
    bench: Bench, server: S3Server, failure: Failure
) -> None:
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    bench.publish(step=40)
    server.faults = [S3Fault(failure, prefix="generations/")]
    bench.write([document(499)])
    bench.until(lambda: server.hits[failure] > 10, "every answer about a change is lost")
    server.faults = [S3Fault(failure, share=0.5)]
    for number in range(500, 510):
        bench.until(lambda: _is_taken(bench, number), f"document {number} is taken")  # noqa: B023
    bench.until_live(2)
    assert server.hits[failure] > 30
    server.faults = []
    version = bench.indexer.corpus.version()
    bench.until_applied(version)
    written = Counter(each.document_id for each in CorpusTable(bench.store).writes(0, version))
    assert set(written.values()) == {1}
    for number in range(499, 510):
        assert bench.documents_found(document(number).text)[0] == f"document-{number}"
    # The retained one follows live.
    bench.until(lambda: bench.count(1) == bench.count(2), "both hold the same")


def _is_taken(bench: Bench, number: int) -> bool:
    """Sent again under one request id."""
    try:
        bench.write([document(number)], f"request-{number}")
    except DependencyUnavailable:
        return False
    return True
