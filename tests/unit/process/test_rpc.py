"""Errors, metrics and deadlines over a real gRPC server and channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry

from realm import errors
from realm.client.wire import (
    STATUS_KEY,
    channel_options,
    from_rpc_error,
    from_status,
    server_options,
    to_status,
)
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    InvalidInput,
    NotReady,
    Overloaded,
    RealmError,
)
from realm.process import rpc
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc

PATIENCE = 20
SHARED_ERRORS = [
    kind for kind in RealmError.__subclasses__() if kind.__module__ == RealmError.__module__
]


class Corpus(corpus_pb2_grpc.CorpusServiceServicer):
    """Raises what its test tells it to."""

    def __init__(self) -> None:
        self.fault: BaseException | None = None
        self.calls = 0

    async def GetDocument(self, request: Any, context: Any) -> corpus_pb2.GetDocumentResponse:  # noqa: N802
        self.calls += 1
        if request.document_id == "slow":
            await asyncio.sleep(PATIENCE)
        if self.fault is not None:
            raise self.fault
        return corpus_pb2.GetDocumentResponse(document_version=7)

    async def ImportDocuments(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for _ in requests:
            if self.fault is not None:
                raise self.fault
        return corpus_pb2.ImportDocumentsResponse(corpus_version=1)


class Index(index_pb2_grpc.IndexServiceServicer):
    def __init__(self) -> None:
        self.fault: BaseException | None = None

    async def WatchIndex(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield index_pb2.WatchIndexResponse()
        if self.fault is not None:
            raise self.fault


class Site:
    """A server with both interceptors, and a channel to it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.corpus = Corpus()
        self.index = Index()
        self.server = grpc.aio.server(
            interceptors=[rpc.MetricsInterceptor(self.registry), rpc.ErrorInterceptor()],
            options=server_options(),
        )
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(self.corpus, self.server)
        index_pb2_grpc.add_IndexServiceServicer_to_server(self.index, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{self.port}", options=channel_options()
        )
        self.stub = corpus_pb2_grpc.CorpusServiceStub(self.channel)

    async def get(self, document_id: str = "a", timeout: float = PATIENCE) -> Any:
        request = corpus_pb2.GetDocumentRequest(document_id=document_id)
        return await self.stub.GetDocument(request, timeout=timeout)

    def handled(self, kind: str, method: str, code: str, service: str = "Corpus") -> float | None:
        labels = {
            "grpc_type": kind,
            "grpc_service": f"realm.v1.{service}Service",
            "grpc_method": method,
            "grpc_code": code,
        }
        return self.registry.get_sample_value("grpc_server_handled_total", labels)

    async def handles_one(self, *labels: str) -> None:
        """A caller may hear of the end before it is counted."""
        async with asyncio.timeout(PATIENCE):
            while self.handled(*labels) != 1:
                await asyncio.sleep(0.01)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    await found.server.start()
    yield found
    await found.channel.close(None)
    await found.server.stop(0)


@pytest.mark.parametrize("kind", SHARED_ERRORS)
def test_every_error_comes_back_as_itself(kind: type[RealmError]) -> None:
    back = from_status(to_status(kind("what happened", version=3)))
    assert type(back) is kind
    assert back.message == "what happened"
    assert back.details == {"version": "3"}


def test_reasons_tell_all_errors_apart() -> None:
    reasons = [kind.reason for kind in RealmError.__subclasses__()]
    assert len(set(reasons)) == len(reasons)


def test_status_of_another_project_is_not_taken_for_ours() -> None:
    status = status_pb2.Status(code=3, message="theirs")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="other"))
    assert from_status(status) is None


async def test_error_travels_with_its_details_and_the_field(site: Site) -> None:
    site.corpus.fault = InvalidInput("the id is empty", field="document_id")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.get()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    back = from_rpc_error(caught.value)
    assert isinstance(back, InvalidInput)
    assert back.details == {"field": "document_id"}
    trailers: Any = caught.value.trailing_metadata()
    status = status_pb2.Status.FromString(dict(trailers)[STATUS_KEY])
    violation = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violation) for detail in status.details)
    assert violation.field_violations[0].field == "document_id"
    await site.handles_one("unary", "GetDocument", "InvalidArgument")


class Panic(BaseException):
    """As native code raises it: no Exception."""


@pytest.mark.parametrize("kind", [RuntimeError, Panic])
async def test_unknown_exception_does_not_leak_its_text(
    site: Site, kind: type[BaseException]
) -> None:
    site.corpus.fault = kind("password=hunter2")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.get()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(caught.value.trailing_metadata()) + str(caught.value.details())
    back = from_rpc_error(caught.value)
    assert len(back.details["incident"]) == 12


async def test_streams_map_errors_too(site: Site) -> None:
    site.index.fault = site.corpus.fault = errors.Conflict("somebody else wrote")
    stub = index_pb2_grpc.IndexServiceStub(site.channel)
    responses = stub.WatchIndex(index_pb2.WatchIndexRequest(), timeout=PATIENCE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in responses:
            pass
    assert isinstance(from_rpc_error(caught.value), errors.Conflict)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.stub.ImportDocuments(iter([corpus_pb2.ImportDocumentsRequest()]), timeout=9)
    assert isinstance(from_rpc_error(caught.value), errors.Conflict)
    await site.handles_one("server_stream", "WatchIndex", "Aborted", "Index")
    await site.handles_one("client_stream", "ImportDocuments", "Aborted")


async def test_success_is_counted_and_timed(site: Site) -> None:
    await site.get()
    await site.handles_one("unary", "GetDocument", "OK")
    labels = {
        "grpc_type": "unary",
        "grpc_service": "realm.v1.CorpusService",
        "grpc_method": "GetDocument",
    }
    value = site.registry.get_sample_value
    assert value("grpc_server_started_total", labels) == 1
    assert value("grpc_server_handling_seconds_count", labels) == 1


async def test_passed_deadline_is_named_and_counted(site: Site) -> None:
    async with asyncio.timeout(PATIENCE):
        # On a busy machine a call may end before it reaches the server, which counts nothing then.
        while not site.handled("unary", "GetDocument", "DeadlineExceeded"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await site.get("slow", timeout=1.001)  # travels as 1.01
            assert isinstance(from_rpc_error(caught.value), DeadlinePassed)
            await asyncio.sleep(0.02)


async def test_cancelled_call_is_not_counted_as_late(site: Site) -> None:
    call = asyncio.create_task(site.get("slow"))
    async with asyncio.timeout(PATIENCE):
        while site.corpus.calls == 0:
            await asyncio.sleep(0.01)
    call.cancel()
    await site.handles_one("unary", "GetDocument", "Canceled")


@pytest.mark.parametrize(
    ("seconds", "left", "code"),
    [
        (1.234, 0.006, "DEADLINE_EXCEEDED"),  # 1.234 s travel as 1.24
        (99.5, 0.4, "DEADLINE_EXCEEDED"),
        (5.0, 0.0, "DEADLINE_EXCEEDED"),
        (0.01, 4.99, "CANCELLED"),
        (3.0, 2.0, "CANCELLED"),
        (3.0, None, "CANCELLED"),
    ],
)
def test_call_that_its_caller_ends_is_late_at_its_deadline(
    seconds: float, left: float | None, code: str
) -> None:
    context = SimpleNamespace(time_remaining=lambda: left)
    assert rpc.ended_as(context, asyncio.CancelledError(), seconds).name == code


async def test_unavailable_is_retried_unless_the_server_waited(site: Site) -> None:
    site.corpus.fault = NotReady("nothing is live yet")
    with pytest.raises(grpc.aio.AioRpcError):
        await site.get()
    assert site.corpus.calls == 4
    site.corpus.fault = NotReady("version 9 is not applied", waited="1.0")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.get()
    assert site.corpus.calls == 5
    assert isinstance(from_rpc_error(caught.value), NotReady)


async def test_an_unreachable_server_is_named() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1", options=channel_options()) as channel:
        stub = corpus_pb2_grpc.CorpusServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetDocument(corpus_pb2.GetDocumentRequest(), timeout=PATIENCE)
    back = from_rpc_error(caught.value, "the gateway 127.0.0.1:1")
    assert isinstance(back, DependencyUnavailable)
    assert "the gateway 127.0.0.1:1 cannot be reached" in back.message


async def test_unknown_method_is_unsupported(site: Site) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.stub.UpsertDocuments(corpus_pb2.UpsertDocumentsRequest(), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class BusyCorpus(corpus_pb2_grpc.CorpusServiceServicer):
    async def GetDocument(self, request: Any, context: Any) -> corpus_pb2.GetDocumentResponse:  # noqa: N802
        time.sleep(0.005)  # holds up the event loop, which then takes no further calls
        return corpus_pb2.GetDocumentResponse()


async def test_calls_beyond_what_a_server_can_look_at_come_back_as_overload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """gRPC sends them back: whoever is too busy to refuse gets no busier."""
    monkeypatch.setattr("realm.client.wire.PENDING_CALLS", 4)
    monkeypatch.setattr("realm.client.wire.MOST_PENDING_CALLS", 8)
    server = grpc.aio.server(options=server_options())
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(BusyCorpus(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def ask(stub: Any) -> RealmError | None:
        try:
            await stub.GetDocument(corpus_pb2.GetDocumentRequest(), timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        return None

    options = channel_options(retries=False)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub = corpus_pb2_grpc.CorpusServiceStub(channel)
        assert await ask(stub) is None
        outcomes = await asyncio.gather(*(ask(stub) for _ in range(100)))
    await server.stop(None)
    refused = [each for each in outcomes if each is not None]
    assert 0 < len(refused) < 100
    assert all(isinstance(each, Overloaded) for each in refused)
