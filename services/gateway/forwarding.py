"""CorpusService and IndexService: checked here, done by the leading indexer.

Deadline, metadata, results and errors pass through in both directions.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from realm.corpus.documents import (
    MAX_WRITES,
    check_deletion,
    check_document_id,
    normalise_id,
    shown,
)
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    NotFound,
    RealmError,
    RequestIdReused,
)
from realm.process.rpc import remaining
from realm.records.controls import Controls, damage_of
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc
from services.gateway.admission.limits import Limit
from services.gateway.leader import Forwarder
from services.gateway.scope import check_writes, confine
from services.gateway.servicers import (
    MAX_GENERATIONS,
    MAX_LISTED,
    check_count,
    index_version,
    normalise_upsert,
    timestamp,
)
from services.gateway.serving import PinnedServing, ServingSlot
from services.gateway.waiting import Shutdown

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: How long the indexer may take for its status before the gateway reports what it knows itself.
STATUS_SECONDS = 3.0
#: Larger writes are checked beside the event loop, which they would hold up.
SMALL_WRITE_BYTES = 64 << 10


@dataclass(slots=True)
class CorpusServicer(corpus_pb2_grpc.CorpusServiceServicer):
    forwarder: Forwarder
    shutdown: Shutdown
    max_document_bytes: int
    imports: Limit

    async def UpsertDocuments(  # noqa: N802
        self, request: corpus_pb2.UpsertDocumentsRequest, context: Any
    ) -> Any:
        if request.ByteSize() <= SMALL_WRITE_BYTES:
            self._check(request)
        else:
            await asyncio.to_thread(self._check, request)
        request.request_id = request.request_id or str(uuid.uuid4())  # makes a retry safe
        return await self.forwarder.call(
            lambda leader: leader.corpus.UpsertDocuments, request, context
        )

    def _check(self, request: corpus_pb2.UpsertDocumentsRequest) -> None:
        normalise_upsert(request, self.max_document_bytes)
        check_writes(request)
        confine(request)

    async def DeleteDocuments(  # noqa: N802
        self, request: corpus_pb2.DeleteDocumentsRequest, context: Any
    ) -> Any:
        if request.document_ids or not request.HasField("filter"):
            check_deletion(request.request_id, request.document_ids)
        confine(request)
        request.request_id = request.request_id or str(uuid.uuid4())
        # Also as given, as far as a call goes: a store may have ids from before normalisation.
        ids = dict.fromkeys([*map(normalise_id, request.document_ids), *request.document_ids])
        del request.document_ids[:]
        request.document_ids.extend(list(ids)[:MAX_WRITES])
        return await self.forwarder.call(
            lambda leader: leader.corpus.DeleteDocuments, request, context
        )

    async def GetDocument(  # noqa: N802
        self, request: corpus_pb2.GetDocumentRequest, context: Any
    ) -> Any:
        check_document_id(request.document_id)
        confine(request)
        normalised = corpus_pb2.GetDocumentRequest()
        normalised.CopyFrom(request)
        normalised.document_id = normalise_id(request.document_id)
        try:
            return await self._get(normalised, context)
        except NotFound:
            if normalised == request:
                raise
            return await self._get(request, context)  # from before ids were normalised

    async def _get(self, request: corpus_pb2.GetDocumentRequest, context: Any) -> Any:
        return await self.forwarder.call(lambda leader: leader.corpus.GetDocument, request, context)

    async def ListDocuments(  # noqa: N802
        self, request: corpus_pb2.ListDocumentsRequest, context: Any
    ) -> Any:
        if request.HasField("page_size"):
            check_count("page_size", request.page_size, MAX_LISTED)
        confine(request)
        return await self.forwarder.call(
            lambda leader: leader.corpus.ListDocuments, request, context
        )

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[corpus_pb2.ImportDocumentsRequest], context: Any
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Batches before an unusable one, or before the gateway stops, are written; the error
        names the failed batch.

        The indexer gets each batch as a write of its own: one that meets a change of leaders is
        retried under its request id, where a stream would break and lose its place.
        """
        with self.imports.taken():
            return await self._import(requests, context)

    async def _import(
        self, requests: AsyncIterator[corpus_pb2.ImportDocumentsRequest], context: Any
    ) -> corpus_pb2.ImportDocumentsResponse:
        total = corpus_pb2.ImportDocumentsResponse()
        batch = 0
        used_ids: set[str] = set()
        async for request in self.shutdown.interrupt(requests):
            try:
                _check_unused(request.request_id, used_ids)
                write = corpus_pb2.UpsertDocumentsRequest(
                    request_id=request.request_id, documents=request.documents
                )
                if request.HasField("filter"):
                    write.filter.CopyFrom(request.filter)
                written = await self.UpsertDocuments(write, context)
            except RealmError as error:
                error.details["batch"] = str(batch)
                raise
            total.corpus_version = written.corpus_version
            total.documents_written += len(request.documents)
            batch += 1
        return total


@dataclass(slots=True)
class IndexServicer(index_pb2_grpc.IndexServiceServicer):
    forwarder: Forwarder
    local: LocalStatus
    shutdown: Shutdown
    watches: Limit

    async def GetIndexStatus(  # noqa: N802
        self, request: index_pb2.GetIndexStatusRequest, context: Any
    ) -> index_pb2.GetIndexStatusResponse:
        """Without an indexer, what the store and this gateway know."""
        most = min(STATUS_SECONDS, remaining(context) / 2)
        try:
            found: index_pb2.GetIndexStatusResponse = await self.forwarder.call(
                lambda leader: leader.index.GetIndexStatus, request, context, most=most
            )
        except (DependencyUnavailable, DeadlinePassed) as error:
            log.warning("status_without_indexer", error=error.message)
            return index_pb2.GetIndexStatusResponse(status=await self.local.status())
        return found

    async def ListGenerations(  # noqa: N802
        self, request: index_pb2.ListGenerationsRequest, context: Any
    ) -> Any:
        if request.HasField("limit"):
            check_count("limit", request.limit, MAX_GENERATIONS)
        return await self.forwarder.call(
            lambda leader: leader.index.ListGenerations, request, context
        )

    async def WatchIndex(  # noqa: N802
        self, request: index_pb2.WatchIndexRequest, context: Any
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        with self.watches.taken():
            watch = self.forwarder.stream(lambda leader: leader.index.WatchIndex, request, context)
            async for response in _distinct(self.shutdown.interrupt(watch)):
                yield response

    async def GetGeneration(  # noqa: N802
        self, request: index_pb2.GetGenerationRequest, context: Any
    ) -> Any:
        return await self.forwarder.call(
            lambda leader: leader.index.GetGeneration, request, context
        )

    async def FollowRefresh(  # noqa: N802
        self, request: index_pb2.FollowRefreshRequest, context: Any
    ) -> AsyncIterator[index_pb2.FollowRefreshResponse]:
        steps = self.forwarder.stream(lambda leader: leader.index.FollowRefresh, request, context)
        async for response in _distinct(self.shutdown.interrupt(steps)):
            yield response
            if response.done:
                return

    async def RefreshIndex(  # noqa: N802
        self, request: index_pb2.RefreshIndexRequest, context: Any
    ) -> Any:
        return await self.forwarder.call(lambda leader: leader.index.RefreshIndex, request, context)

    async def RollBackIndex(  # noqa: N802
        self, request: index_pb2.RollBackIndexRequest, context: Any
    ) -> Any:
        return await self.forwarder.call(
            lambda leader: leader.index.RollBackIndex, request, context, again=False
        )

    async def PauseRefresh(  # noqa: N802
        self, request: index_pb2.PauseRefreshRequest, context: Any
    ) -> Any:
        return await self.forwarder.call(lambda leader: leader.index.PauseRefresh, request, context)


def _check_unused(request_id: str, used: set[str]) -> None:
    """Batches are writes of their own: under one id for all, all but the first would be ignored.

    :raises RequestIdReused: if an earlier batch of the import had the id.
    """
    if request_id and request_id in used:
        raise RequestIdReused(
            f"an earlier batch of this import has the request id {shown(request_id)}: give each"
            " batch an id of its own, or none",
            field="request_id",
            request_id=shown(request_id),
        )
    used.add(request_id)


class LocalStatus:
    """The index status from the store and this gateway alone, without other gateways."""

    def __init__(self, store: Store, slot: ServingSlot, gateway_id: str) -> None:
        self._store = store
        self._snapshots = Snapshots(store)
        self._slot = slot
        self._gateway_id = gateway_id

    async def status(self) -> index_pb2.IndexStatus:
        """Without a store, what the gateway serves and how old that is.

        :raises DependencyUnavailable: if it serves nothing either.
        """
        serving = self._slot.current
        try:
            status = await asyncio.to_thread(self._from_store)
        except DependencyUnavailable:
            if serving is None:
                raise
            status = index_pb2.IndexStatus()
        freshness = self._slot.freshness(serving.number) if serving else None
        if serving is not None and freshness is not None:
            status.live.CopyFrom(index_version(PinnedServing(serving, freshness)))
            status.corpus_version = freshness.corpus_version
            if freshness.damaged:
                with suppress(DependencyUnavailable):
                    status.damage = await asyncio.to_thread(damage_of, self._store, serving.number)
        status.gateways.add(
            gateway_id=self._gateway_id,
            generation=serving.number if serving else 0,
            ready=serving is not None,
        )
        return status

    def _from_store(self) -> index_pb2.IndexStatus:
        status = index_pb2.IndexStatus(paused=Controls(self._store).paused())
        if (newest := self._snapshots.newest()) is not None:
            status.newest_snapshot.number = newest.number
            status.newest_snapshot.step = newest.step
            status.newest_snapshot.published_at.CopyFrom(timestamp(newest.created_at))
        return status


async def _distinct(responses: AsyncIterator[T]) -> AsyncIterator[T]:
    """Without those that equal the one before: another leader begins with the same status."""
    sent: T | None = None
    async for response in responses:
        if response != sent:
            sent = response
            yield response
