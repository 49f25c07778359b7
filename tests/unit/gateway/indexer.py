"""An indexer's API over a dictionary: the same messages, errors and statuses, no index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from realm.access.guard import AccessInterceptor, Services
from realm.client.wire import server_options
from realm.errors import FailedPrecondition, NotFound, RequestIdReused
from realm.filters import matches
from realm.internal.v1 import serving_pb2, serving_pb2_grpc
from realm.process.listening import add_port
from realm.process.rpc import ErrorInterceptor
from realm.settings.access import Access
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc, types_pb2
from tests.ports import free_port


class MemoryIndexer(
    corpus_pb2_grpc.CorpusServiceServicer,
    index_pb2_grpc.IndexServiceServicer,
    serving_pb2_grpc.ServingReportServiceServicer,
):
    """Remembers requests, metadata and deadlines; `fault` is raised by writes."""

    def __init__(self) -> None:
        self.documents: dict[str, types_pb2.Document] = {}
        self.requests: dict[str, int] = {}
        self.payloads: dict[str, Any] = {}
        self.metadata: dict[str, str] = {}
        self.seconds: float | None = None
        self.fault: Exception | None = None
        self.failures = 0
        #: How many writes gRPC cancels, as those that a server had not looked at when it ended.
        self.cancels = 0
        self.reports: list[serving_pb2.ReportServingRequest] = []
        self.version = 0
        self.paused = False
        self.parked: list[str] = []
        self.rolling_back = False
        self.refreshes: list[str] = []
        self.changed = asyncio.Condition()
        self.awake = asyncio.Event()
        self.awake.set()

    async def UpsertDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        await self.awake.wait()
        if self.cancels:
            self.cancels -= 1
            await context.abort(grpc.StatusCode.CANCELLED)
        return corpus_pb2.UpsertDocumentsResponse(corpus_version=self._write(request))

    async def DeleteDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        version = self._write(request)
        bound = request.filter if request.HasField("filter") else None
        gone = [
            each
            for each in request.document_ids or list(self.documents)
            if each in self.documents and matches(bound, self.documents[each].metadata)
        ]
        for document_id in gone:
            del self.documents[document_id]
        deleted = 0 if bound is None else len(gone)
        return corpus_pb2.DeleteDocumentsResponse(corpus_version=version, documents_deleted=deleted)

    async def ListDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One page: everything that matches."""
        self._note(context)
        found = [
            corpus_pb2.ListedDocument(document=each, document_version=self.version)
            for each in self.documents.values()
            if not request.HasField("filter") or matches(request.filter, each.metadata)
        ]
        return corpus_pb2.ListDocumentsResponse(documents=found)

    async def GetDocument(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        if request.document_id not in self.documents:
            raise NotFound(f"there is no document {request.document_id}", document_id="x")
        document = self.documents[request.document_id]
        if request.HasField("filter") and not matches(request.filter, document.metadata):
            raise NotFound(f"there is no document {request.document_id}", document_id="x")
        return corpus_pb2.GetDocumentResponse(document=document, document_version=self.version)

    async def GetIndexStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return index_pb2.GetIndexStatusResponse(status=self.status())

    async def ListGenerations(self, request: Any, context: Any) -> Any:  # noqa: N802
        generations = [
            index_pb2.Generation(
                generation=2,
                snapshot=index_pb2.Snapshot(number=2, step=20),
                state=index_pb2.GENERATION_STATE_LIVE,
                corpus_version=5,
                gate={"recall": 0.99},
            ),
            index_pb2.Generation(
                generation=1, state=index_pb2.GENERATION_STATE_REJECTED, reason="probes fell"
            ),
        ]
        limit = request.limit if request.HasField("limit") else 20
        return index_pb2.ListGenerationsResponse(generations=generations[:limit])

    async def WatchIndex(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        while True:
            yield index_pb2.WatchIndexResponse(status=self.status())
            async with self.changed:
                await self.changed.wait()

    async def RefreshIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.refreshes.append(request.reason)
        return index_pb2.RefreshIndexResponse(snapshot=2, operation=len(self.refreshes))

    async def GetGeneration(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.generation != 2:
            raise NotFound(f"there is no generation {request.generation}")
        return index_pb2.GetGenerationResponse(generation=index_pb2.Generation(generation=2))

    async def FollowRefresh(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[index_pb2.FollowRefreshResponse]:
        yield index_pb2.FollowRefreshResponse()
        refresh = index_pb2.Refresh(generation=request.operation)
        yield index_pb2.FollowRefreshResponse(refresh=refresh)
        yield index_pb2.FollowRefreshResponse(refresh=refresh, done=True)

    async def RollBackIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.rolling_back = True
        await self.awake.wait()
        self._fail()
        raise FailedPrecondition("there is no retained generation to roll back to")

    async def PauseRefresh(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.paused = request.paused
        async with self.changed:
            self.changed.notify_all()
        return index_pb2.PauseRefreshResponse(paused=self.paused)

    async def ReportServing(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.reports.append(request)
        return serving_pb2.ReportServingResponse()

    def status(self) -> index_pb2.IndexStatus:
        status = index_pb2.IndexStatus(corpus_version=self.version, paused=self.paused)
        status.live.generation, status.live.snapshot, status.live.step = 2, 2, 20
        status.live.corpus_version = self.version
        status.newest_snapshot.number = 3
        status.gateways.add(gateway_id="one", generation=2, ready=True)
        for document_id in self.parked[:1]:
            status.parked.add(document_id=document_id, version=3, reason="it kills embedders")
        status.parked_documents = len(self.parked)
        return status

    def _note(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        self.seconds = context.time_remaining()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            assert self.fault is not None
            raise self.fault

    def _write(self, request: Any) -> int:
        """As the real one: sent again, a request changes nothing; another one has another id."""
        self._fail()
        if self.payloads.setdefault(request.request_id, request) != request:
            raise RequestIdReused("the request id belongs to another write", field="request_id")
        for document in getattr(request, "documents", ()):
            self.documents[document.id] = document
        if request.request_id not in self.requests:
            self.version += 1
            self.requests[request.request_id] = self.version
        return self.requests[request.request_id]


@asynccontextmanager
async def running_indexer(
    port: int | None = None, access: Access = Access()
) -> AsyncIterator[tuple[MemoryIndexer, str]]:
    indexer = MemoryIndexer()
    interceptors: list[Any] = [ErrorInterceptor()]
    if access.service_key:
        interceptors.append(AccessInterceptor(Services(access.service_key)))
    server = grpc.aio.server(interceptors=interceptors, options=server_options())
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(indexer, server)
    index_pb2_grpc.add_IndexServiceServicer_to_server(indexer, server)
    serving_pb2_grpc.add_ServingReportServiceServicer_to_server(indexer, server)
    port = add_port(server, access, f"127.0.0.1:{port or free_port()}")
    await server.start()
    try:
        yield indexer, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
