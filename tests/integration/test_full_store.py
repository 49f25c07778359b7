"""A folder that takes no byte more, log and store alike: the system itself refuses the indexer."""

from __future__ import annotations

import resource
import time

import grpc
import pytest

from realm.client.wire import from_rpc_error
from realm.corpus.table import CorpusTable
from realm.errors import DependencyUnavailable
from realm.records.generations import Generations
from realm.records.store import Store
from realm.v1 import corpus_pb2, types_pb2
from tests.integration.indexer_process import CALL_SECONDS, DEADLINE, IndexerProcess
from tests.integration.indexing import document

NO_LIMIT = resource.RLIM_INFINITY


def full(process: IndexerProcess, *, is_full: bool) -> None:
    """No file of the process may grow beyond nothing, or any may."""
    size = 0 if is_full else NO_LIMIT
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (size, NO_LIMIT))


def write(process: IndexerProcess, number: int, request_id: str) -> int:
    made = document(number)
    request = corpus_pb2.UpsertDocumentsRequest(
        documents=[types_pb2.Document(id=made.id, title=made.title, text=made.text)],
        request_id=request_id,
    )
    return int(process.corpus.UpsertDocuments(request, timeout=CALL_SECONDS).corpus_version)


def test_while_the_folder_is_full_live_answers_and_afterwards_nothing_is_missing(
    process: IndexerProcess, store: Store
) -> None:
    bench = process.bench
    bench.start_worker()
    process.write(*range(20))
    bench.publish(step=0)
    process.until("a generation is live", lambda status: status.live.generation == 1)
    kept = write(process, 100, "kept")
    process.until("it is applied", lambda status: status.live.corpus_version >= kept)

    full(process, is_full=True)
    snapshot = bench.publish(step=40)
    for attempt in range(3):
        with pytest.raises(grpc.RpcError) as refused:
            write(process, 200 + attempt, f"refused {attempt}")
        error = from_rpc_error(refused.value)
        assert isinstance(error, DependencyUnavailable)
        assert "send it again with the same request id" in error.message
    # Longer than its lease and some looks: it fails again and again, and goes on.
    waited = time.monotonic() + 8.0
    process.until("some looks", lambda status: time.monotonic() > waited)
    assert process.process.poll() is None, process.log.read_text()[-2000:]
    assert CorpusTable(store).version == kept
    assert Generations(store).numbers() == [1]
    assert bench.documents_found(document(100).text)[0] == "document-100"

    full(process, is_full=False)
    version = again(process, 200, "refused 0")
    status = process.until("the refresh goes on", lambda status: status.live.generation == 2)
    assert status.live.snapshot == snapshot.number
    process.until("the write is in", lambda status: status.live.corpus_version >= version)
    assert write(process, 200, "refused 0") == version, "it was written once"
    for number in (7, 100, 200):
        assert bench.documents_found(document(number).text)[0] == f"document-{number}"
    assert bench.count(1) == bench.count(2)


def again(process: IndexerProcess, number: int, request_id: str) -> int:
    """As a client does: the same request until it is taken."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return write(process, number, request_id)
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
