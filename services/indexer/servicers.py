# ruff: noqa: N802 (methods are named by the protocol)
"""The gRPC services of the indexer: they translate protobuf to calls and back.

`realm.process.rpc.ErrorInterceptor` turns errors into statuses. Blocking calls run in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from realm.corpus.documents import Document, check_request_id, shown
from realm.errors import FailedPrecondition, InvalidInput, NotFound, NotReady
from realm.internal.v1 import serving_pb2, serving_pb2_grpc
from realm.process.rpc import remaining
from realm.records.controls import Controls
from realm.records.recorded_questions import RecordedQuestion
from realm.records.snapshots import Snapshots
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc, types_pb2
from services.indexer.build.committer import Committer
from services.indexer.context import CorpusReader
from services.indexer.gateways import GatewayReport, GatewayReports, QuestionRecorder
from services.indexer.report.status import Status
from services.indexer.wake import WakeSignal
from services.indexer.writes.writer import Writer, check_changes

Result = TypeVar("Result")
Context = Any

ROLL_BACK_SECONDS = 10.0
DEFAULT_LIMIT = 20
MAX_LIMIT = 1_000
HEARTBEAT_SECONDS = 1.0
WAKE_POLL_SECONDS = 0.1


async def _in(executor: Executor, call: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)


@dataclass(slots=True)
class CorpusServicer(corpus_pb2_grpc.CorpusServiceServicer):
    """Writes and reads documents."""

    writer: Writer
    corpus: CorpusReader
    max_bytes: int
    executor: Executor

    async def UpsertDocuments(
        self, request: corpus_pb2.UpsertDocumentsRequest, context: Context
    ) -> corpus_pb2.UpsertDocumentsResponse:
        version = await self._write(request.request_id, request.documents, ())
        return corpus_pb2.UpsertDocumentsResponse(corpus_version=version)

    async def DeleteDocuments(
        self, request: corpus_pb2.DeleteDocumentsRequest, context: Context
    ) -> corpus_pb2.DeleteDocumentsResponse:
        version = await self._write(request.request_id, (), request.document_ids)
        return corpus_pb2.DeleteDocumentsResponse(corpus_version=version)

    async def GetDocument(
        self, request: corpus_pb2.GetDocumentRequest, context: Context
    ) -> corpus_pb2.GetDocumentResponse:
        if not request.document_id:
            raise InvalidInput("give the document's id", field="document_id")
        found = await _in(self.executor, self.corpus.get, request.document_id)
        if found is None or found.document is None:
            raise NotFound(
                f"there is no document {shown(request.document_id)}",
                document_id=request.document_id,
            )
        document = found.document
        return corpus_pb2.GetDocumentResponse(
            document=types_pb2.Document(
                id=document.id,
                title=document.title,
                text=document.text,
                metadata=document.metadata,
            ),
            document_version=found.version,
        )

    async def _write(
        self, request_id: str, documents: Sequence[types_pb2.Document], deletions: Sequence[str]
    ) -> int:
        given = [
            Document(each.id, each.title, each.text, dict(each.metadata)) for each in documents
        ]
        name, changes = await _in(
            self.executor, check_changes, request_id, given, list(deletions), self.max_bytes
        )
        # Shielded: a caller that hangs up must not cancel an accepted write.
        return await asyncio.shield(asyncio.wrap_future(self.writer.submit(name, changes)))


@dataclass(slots=True, kw_only=True)
class IndexServicer(index_pb2_grpc.IndexServiceServicer):
    """Reports the state of the index and takes operators' commands.

    :param closing: set when the server stops: streams end then.
    """

    status: Status
    committer: Committer
    controls: Controls
    snapshots: Snapshots
    wake: WakeSignal
    executor: Executor
    closing: asyncio.Event

    async def GetIndexStatus(
        self, request: index_pb2.GetIndexStatusRequest, context: Context
    ) -> index_pb2.GetIndexStatusResponse:
        return index_pb2.GetIndexStatusResponse(status=await _in(self.executor, self.status.now))

    async def ListGenerations(
        self, request: index_pb2.ListGenerationsRequest, context: Context
    ) -> index_pb2.ListGenerationsResponse:
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(f"limit is 1 to {MAX_LIMIT}, not {limit}", field="limit")
        found = await _in(self.executor, self.status.generations, limit)
        return index_pb2.ListGenerationsResponse(generations=found)

    async def WatchIndex(
        self, request: index_pb2.WatchIndexRequest, context: Context
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        sent: index_pb2.IndexStatus | None = None
        while not self.closing.is_set():
            heard = self.wake.count
            status = await _in(self.executor, self.status.now)
            if status != sent:
                yield index_pb2.WatchIndexResponse(status=status)
                sent = status
            await self._wake_or_heartbeat(heard)
        raise NotReady("this indexer is stopping; call again")

    async def _wake_or_heartbeat(self, heard: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HEARTBEAT_SECONDS
        await asyncio.sleep(WAKE_POLL_SECONDS)
        while self.wake.count == heard and loop.time() < deadline:
            await asyncio.sleep(WAKE_POLL_SECONDS)

    async def RefreshIndex(
        self, request: index_pb2.RefreshIndexRequest, context: Context
    ) -> index_pb2.RefreshIndexResponse:
        snapshot = await _in(self.executor, self._refresh, request)
        return index_pb2.RefreshIndexResponse(snapshot=snapshot)

    def _refresh(self, request: index_pb2.RefreshIndexRequest) -> int:
        forced = f"{request.by or 'somebody'}: {request.reason}" if request.force else ""
        if request.HasField("generation"):
            snapshot = self.status.snapshot_of(request.generation)
            self.controls.request_refresh(request.reason, snapshot, forced)
        else:
            newest = self.snapshots.newest()
            if newest is None:
                raise FailedPrecondition(
                    "there is no snapshot to build from: the trainer publishes the first one"
                )
            snapshot = newest.number
            self.controls.request_refresh(request.reason, forced=forced)
        self.wake.notify()
        return snapshot

    async def RollBackIndex(
        self, request: index_pb2.RollBackIndexRequest, context: Context
    ) -> index_pb2.RollBackIndexResponse:
        check_request_id(request.request_id)
        deadline = time.monotonic() + remaining(context, ROLL_BACK_SECONDS)

        def roll_back() -> int:
            # It may have waited for a thread.
            seconds = deadline - time.monotonic()
            return self.committer.roll_back(request.reason, seconds, request.request_id)

        generation = await _in(self.executor, roll_back)
        self.wake.notify()
        return index_pb2.RollBackIndexResponse(generation=generation)

    async def PauseRefresh(
        self, request: index_pb2.PauseRefreshRequest, context: Context
    ) -> index_pb2.PauseRefreshResponse:
        await _in(self.executor, self.controls.pause, request.paused, request.reason)
        self.wake.notify()
        return index_pb2.PauseRefreshResponse(paused=request.paused)


@dataclass(slots=True)
class ServingReportServicer(serving_pb2_grpc.ServingReportServiceServicer):
    """Takes the gateways' reports."""

    gateways: GatewayReports
    recorder: QuestionRecorder
    wake: WakeSignal
    _known: dict[str, tuple[int, bool]] = field(default_factory=dict, init=False)

    async def ReportServing(
        self, request: serving_pb2.ReportServingRequest, context: Context
    ) -> serving_pb2.ReportServingResponse:
        self.gateways.record(GatewayReport(request.gateway_id, request.generation, request.ready))
        now = time.time()
        self.recorder.record(
            RecordedQuestion(each.question, each.document_id, each.snapshot, now, each.answer)
            for each in request.questions
        )
        said = (request.generation, request.ready)
        if self._known.get(request.gateway_id) != said:
            self._known[request.gateway_id] = said
            self.wake.notify()
        return serving_pb2.ReportServingResponse()
