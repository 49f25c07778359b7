"""The indexer as a process: its gRPC services, kill -9 in the middle of a build, SIGTERM."""

from __future__ import annotations

import json
import signal

import grpc
import pytest
from google.rpc import error_details_pb2

from realm.client.wire import from_rpc_error, to_status
from realm.internal.v1 import serving_pb2
from realm.v1 import corpus_pb2, index_pb2, types_pb2
from tests.integration.indexer_process import CALL_SECONDS, DEADLINE, IndexerProcess
from tests.integration.indexing import Bench, document


def vectors(bench: Bench) -> dict[str, int]:
    """When each file of vectors was written."""
    root = bench.store.root
    assert root is not None
    return {each: (root / each).stat().st_mtime_ns for each in bench.store.files("vectors")}


def test_killed_in_the_middle_of_a_build_it_keeps_what_was_embedded(
    process: IndexerProcess,
) -> None:
    """It loads anew, into another collection: what the killed one had sent may still arrive."""
    bench = process.bench
    bench.start_worker("realm.delta")
    process.write(*range(60))
    bench.publish(step=0)
    process.until("a build begins", lambda status: status.HasField("refresh"))
    process.kill()
    process.start()
    bench.start_worker("realm.embed", delay=0.3)
    process.until(
        "shards arrive",
        lambda status: status.refresh.shards_completed > 0 or status.HasField("live"),
    )
    process.kill()
    embedded = vectors(bench)
    process.start()
    version = process.write(500)
    status = process.until("live with the write", lambda s: s.live.corpus_version >= version)
    assert status.live.generation > 1
    assert embedded
    assert embedded.items() <= vectors(bench).items()
    assert bench.documents_found(document(500).text)[0] == "document-500"
    assert bench.documents_found(document(20).text)[0] == "document-20"


def test_a_refresh_ends_when_every_ready_gateway_answers_with_it(process: IndexerProcess) -> None:
    bench = process.bench

    def report(generation: int) -> None:
        process.serving.ReportServing(
            serving_pb2.ReportServingRequest(gateway_id="g1", generation=generation, ready=True),
            timeout=CALL_SECONDS,
        )

    bench.start_worker()
    report(0)
    process.write(*range(40))
    bench.publish(step=0)
    # The store knows of a commit a moment before the leader's own account of the refresh does.
    status = process.until("committed", lambda status: "flip" in status.refresh.phase_seconds)
    assert status.live.generation == status.refresh.generation == 1
    assert [gateway.generation for gateway in status.gateways] == [0]
    report(1)
    status = process.until("ended", lambda s: "total" in s.last_refresh.phase_seconds)
    phases = status.last_refresh.phase_seconds
    parts = sum(seconds for name, seconds in phases.items() if name != "total")
    assert phases["total"] == pytest.approx(parts)
    assert status.live.lag_steps == 0
    assert not status.HasField("refresh")

    listed = process.index.ListGenerations(index_pb2.ListGenerationsRequest(), timeout=CALL_SECONDS)
    assert [each.generation for each in listed.generations] == [1]
    assert listed.generations[0].gate["count"] == listed.generations[0].gate["expected_count"]


def test_documents_are_read_back_and_faults_named(process: IndexerProcess) -> None:
    version = process.write(1)
    request = corpus_pb2.GetDocumentRequest(document_id="document-1")
    found = process.corpus.GetDocument(request, timeout=CALL_SECONDS)
    assert found.document.text == document(1).text
    assert found.document.metadata["edition"] == "0"
    assert found.document_version == version

    faulty = types_pb2.Document(id="empty", text="  ")
    with pytest.raises(grpc.RpcError) as refused:
        process.corpus.UpsertDocuments(
            corpus_pb2.UpsertDocumentsRequest(documents=[faulty]), timeout=CALL_SECONDS
        )
    status = to_status(from_rpc_error(refused.value))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["field"] == "documents[0].text"
    assert process.status().corpus_version == version

    with pytest.raises(grpc.RpcError) as absent:
        process.corpus.GetDocument(
            corpus_pb2.GetDocumentRequest(document_id="nobody"), timeout=CALL_SECONDS
        )
    assert absent.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as early:
        process.index.RollBackIndex(index_pb2.RollBackIndexRequest(), timeout=CALL_SECONDS)
    assert early.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_watcher_sees_a_write(process: IndexerProcess) -> None:
    watch = process.index.WatchIndex(index_pb2.WatchIndexRequest(), timeout=DEADLINE)
    assert next(watch).status.corpus_version == 0
    written = process.corpus.UpsertDocuments(
        corpus_pb2.UpsertDocumentsRequest(documents=[types_pb2.Document(id="a", text="Text.")]),
        timeout=CALL_SECONDS,
    )
    assert any(each.status.corpus_version == written.corpus_version for each in watch)
    watch.cancel()


def test_sigterm_ends_it_cleanly_with_a_watcher_attached(process: IndexerProcess) -> None:
    watch = process.index.WatchIndex(index_pb2.WatchIndexRequest(), timeout=DEADLINE)
    next(watch)
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(timeout=DEADLINE) == 0
    events = [json.loads(line)["event"] for line in process.log.read_text().splitlines()]
    assert "indexer_stopped" in events
    assert "thread_still_running" not in events
