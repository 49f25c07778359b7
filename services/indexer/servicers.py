# ruff: noqa: N802 (methods are named by the protocol)
"""The gRPC services of the indexer: they translate protobuf to calls and back.

`realm.process.rpc.ErrorInterceptor` turns errors into statuses. Blocking calls run in threads.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from realm.corpus.documents import Document, check_deletion, check_request_id, shown
from realm.corpus.listing import Page, Place
from realm.corpus.table import DocumentState
from realm.errors import FailedPrecondition, InvalidInput, NotFound, NotReady
from realm.filters import check
from realm.internal.v1 import serving_pb2, serving_pb2_grpc
from realm.process.rpc import remaining
from realm.records.controls import Controls
from realm.records.recorded_questions import RecordedQuestion
from realm.records.snapshots import Snapshots
from realm.retrieval import Retrieval
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc, types_pb2
from realm.v1.types_pb2 import Filter
from services.indexer.build.committer import Committer
from services.indexer.context import CorpusReader
from services.indexer.gate.shadow import LiveSearch, RecentSearches
from services.indexer.gateways import GatewayReport, GatewayReports, QuestionRecorder
from services.indexer.pages import page_token, read_generation_token, read_page_token
from services.indexer.report.status import Status
from services.indexer.wake import WakeSignal
from services.indexer.writes.conditions import (
    MOST_DELETED,
    Deletion,
    passes,
    replacing_only,
)
from services.indexer.writes.requests import digest_of
from services.indexer.writes.writer import Writer, check_changes

Result = TypeVar("Result")
Context = Any

ROLL_BACK_SECONDS = 10.0
DEFAULT_LIMIT = 20
DEFAULT_PAGE = 100
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
    #: Another one: a listing may take its time.
    listings: CorpusReader
    max_bytes: int
    executor: Executor

    async def UpsertDocuments(
        self, request: corpus_pb2.UpsertDocumentsRequest, context: Context
    ) -> corpus_pb2.UpsertDocumentsResponse:
        given = [
            Document(d.id, d.title, d.text, dict(d.metadata), d.answer) for d in request.documents
        ]
        bound = filter_of(request)
        name, changes = await _in(
            self.executor, check_changes, request.request_id, given, (), self.max_bytes, bound
        )
        if bound is None:
            written = self.writer.submit(name, changes)
        else:
            decide = replacing_only(bound, changes)
            written = self.writer.submit_decision(name, changes[0].request_digest, decide)
        return corpus_pb2.UpsertDocumentsResponse(corpus_version=await _accepted(written))

    async def DeleteDocuments(
        self, request: corpus_pb2.DeleteDocumentsRequest, context: Context
    ) -> corpus_pb2.DeleteDocumentsResponse:
        ids, bound = list(request.document_ids), filter_of(request)
        if bound is None:
            name, changes = await _in(
                self.executor, check_changes, request.request_id, (), ids, self.max_bytes
            )
            version = await _accepted(self.writer.submit(name, changes))
            return corpus_pb2.DeleteDocumentsResponse(corpus_version=version)
        if ids:
            check_deletion(request.request_id, ids)
        check_request_id(request.request_id)
        name = request.request_id or uuid.uuid4().hex
        deletion = Deletion(bound, name, digest_of((), ids, bound))
        if ids:
            decide = deletion.of(ids)
        else:
            found = await _in(self.executor, self.listings.matching, bound, MOST_DELETED)
            decide = deletion.of_all(*found)
        version = await _accepted(self.writer.submit_decision(name, deletion.digest, decide))
        return corpus_pb2.DeleteDocumentsResponse(
            corpus_version=version, documents_deleted=deletion.deleted, more=deletion.more
        )

    async def GetDocument(
        self, request: corpus_pb2.GetDocumentRequest, context: Context
    ) -> corpus_pb2.GetDocumentResponse:
        if not request.document_id:
            raise InvalidInput("give the document's id", field="document_id")
        found = await _in(self.executor, self.corpus.get, request.document_id)
        bound = filter_of(request)
        if found is None or not (bound is None or passes(bound, found)):
            raise NotFound(
                f"there is no document {shown(request.document_id)}",
                document_id=request.document_id,
            )
        return corpus_pb2.GetDocumentResponse(
            document=_document(found), document_version=found.version
        )

    async def ListDocuments(
        self, request: corpus_pb2.ListDocumentsRequest, context: Context
    ) -> corpus_pb2.ListDocumentsResponse:
        most = request.page_size if request.HasField("page_size") else DEFAULT_PAGE
        if not 1 <= most <= MAX_LIMIT:
            raise InvalidInput(f"page_size is {most}: give 1 to {MAX_LIMIT:,}", field="page_size")
        bound = filter_of(request)
        after = read_page_token(request.page_token, bound)
        listed = await _in(self.executor, self._page, bound, most, after, request.with_text)
        return corpus_pb2.ListDocumentsResponse(
            documents=[
                corpus_pb2.ListedDocument(document=_document(each), document_version=each.version)
                for each in listed.documents
            ],
            next_page_token=page_token(listed.end, bound) if listed.end else "",
        )

    def _page(self, bound: Filter | None, most: int, after: Place, texts: bool) -> Page:
        return self.listings.page(bound, most, after, texts=texts)


def filter_of(request: Any) -> Filter | None:
    """:raises InvalidInput: naming what is wrong with it."""
    return check(request.filter) if request.HasField("filter") else None


async def _accepted(version: Future[int]) -> int:
    """Shielded: a caller that hangs up must not cancel an accepted write."""
    awaited = asyncio.wrap_future(version)
    # One that hung up reads no outcome, which is no news for the log.
    awaited.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(awaited)


def _document(state: DocumentState) -> types_pb2.Document:
    document = state.document
    assert document is not None
    return types_pb2.Document(
        id=document.id,
        title=document.title,
        text=document.text,
        metadata=document.metadata,
        answer=document.answer,
    )


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
        before = read_generation_token(request.page_token)
        found = await _in(self.executor, self.status.generations, limit + 1, before)
        more = len(found) > limit
        return index_pb2.ListGenerationsResponse(
            generations=found[:limit],
            next_page_token=str(found[limit - 1].generation) if more else "",
        )

    async def GetGeneration(
        self, request: index_pb2.GetGenerationRequest, context: Context
    ) -> index_pb2.GetGenerationResponse:
        found = await _in(self.executor, self.status.generation, request.generation)
        return index_pb2.GetGenerationResponse(generation=found)

    async def WatchIndex(
        self, request: index_pb2.WatchIndexRequest, context: Context
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        async for status in self._changing(self.status.now):
            yield index_pb2.WatchIndexResponse(status=status)

    async def FollowRefresh(
        self, request: index_pb2.FollowRefreshRequest, context: Context
    ) -> AsyncIterator[index_pb2.FollowRefreshResponse]:
        async for response in self._changing(partial(self.status.follow, request.operation)):
            yield response
            if response.done:
                return

    async def _changing(self, look: Callable[[], Result]) -> AsyncIterator[Result]:
        """What is seen now, and whenever it differs from the last time."""
        seen: Result | None = None
        while not self.closing.is_set():
            heard = self.wake.count
            if (found := await _in(self.executor, look)) != seen:
                yield found
                seen = found
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
        return await _in(self.executor, self._refresh, request)

    def _refresh(self, request: index_pb2.RefreshIndexRequest) -> index_pb2.RefreshIndexResponse:
        forced = f"{request.by or 'somebody'}: {request.reason}" if request.force else ""
        if request.HasField("generation"):
            snapshot = self.status.snapshot_of(request.generation)
            number = self.controls.request_refresh(request.reason, snapshot, forced)
        else:
            newest = self.snapshots.newest()
            if newest is None:
                raise FailedPrecondition(
                    "there is no snapshot to build from: the trainer publishes the first one"
                )
            snapshot = newest.number
            number = self.controls.request_refresh(request.reason, forced=forced)
        self.wake.notify()
        return index_pb2.RefreshIndexResponse(snapshot=snapshot, operation=number)

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


#: By which a gateway may have ranked; a newer one may know others.
WAYS = {types_pb2.Retrieval.Value(f"RETRIEVAL_{way.name}"): way for way in Retrieval}


@dataclass(slots=True)
class ServingReportServicer(serving_pb2_grpc.ServingReportServiceServicer):
    """Takes the gateways' reports."""

    gateways: GatewayReports
    recorder: QuestionRecorder
    searches: RecentSearches
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
        self.searches.record(
            LiveSearch(
                each.question,
                WAYS[each.retrieval],
                each.filter if each.HasField("filter") else None,
            )
            for each in request.searches
            if each.retrieval in WAYS
        )
        said = (request.generation, request.ready)
        if self._known.get(request.gateway_id) != said:
            self._known[request.gateway_id] = said
            self.wake.notify()
        return serving_pb2.ReportServingResponse()
