"""CorpusService and IndexService: checked here, done by the leading indexer.

Deadline, metadata, results and errors pass through in both directions.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from realm.errors import DeadlinePassed, DependencyUnavailable, InvalidInput, RealmError
from realm.rpc import from_rpc_error, remaining
from realm.settings import Settings
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc
from services.gateway.checks import (
    MAX_GENERATIONS,
    check_count,
    check_document_id,
    check_document_ids,
    check_documents,
)
from services.gateway.closing import Closing
from services.gateway.status import LocalStatus

log = structlog.get_logger(__name__)

#: Longest wait for one write; a group commit takes a fraction of a second.
WRITE_SECONDS = 60.0
#: How long the indexer is asked for its status before the gateway says what it knows itself.
STATUS_SECONDS = 3.0
MAX_REQUEST_ID = 128

#: Headers of the connection, not of the call.
_HOP_BY_HOP = ("grpc-", ":", "user-agent", "content-type", "te", "accept-encoding")


class Forwarder:
    """Calls the leader's methods on behalf of a caller."""

    def __init__(self, settings: Settings, channel: grpc.aio.Channel) -> None:
        self.peer = f"the indexer at {settings.indexer_url}"
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(channel)
        self.index = index_pb2_grpc.IndexServiceStub(channel)

    async def call(self, method: Any, request: Any, context: Any, most: float) -> Any:
        """:raises RealmError: as the indexer raised it."""
        try:
            return await method(
                request, timeout=remaining(context, most), metadata=_metadata(context)
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.peer) from error


class CorpusServicer(corpus_pb2_grpc.CorpusServiceServicer):
    def __init__(self, settings: Settings, forwarder: Forwarder) -> None:
        self._max_bytes = settings.max_document_bytes
        self._forwarder = forwarder
        self._stub = forwarder.corpus

    async def UpsertDocuments(  # noqa: N802
        self, request: corpus_pb2.UpsertDocumentsRequest, context: Any
    ) -> Any:
        check_documents(request.documents, self._max_bytes)
        return await self._write(self._stub.UpsertDocuments, request, context)

    async def DeleteDocuments(  # noqa: N802
        self, request: corpus_pb2.DeleteDocumentsRequest, context: Any
    ) -> Any:
        check_document_ids(request.document_ids)
        return await self._write(self._stub.DeleteDocuments, request, context)

    async def GetDocument(  # noqa: N802
        self, request: corpus_pb2.GetDocumentRequest, context: Any
    ) -> Any:
        check_document_id(request.document_id)
        return await self._forwarder.call(self._stub.GetDocument, request, context, WRITE_SECONDS)

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[corpus_pb2.ImportDocumentsRequest], context: Any
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Batches before an unusable one are written; the error says which one it was.

        To the indexer each batch is a write of its own: one that meets a change of leaders is
        tried again under its request id, where a stream would break and forget its place.
        """
        total = corpus_pb2.ImportDocumentsResponse()
        batch = 0
        async for request in requests:
            try:
                check_documents(request.documents, self._max_bytes)
                write = corpus_pb2.UpsertDocumentsRequest(
                    request_id=request.request_id, documents=request.documents
                )
                written = await self._write(self._stub.UpsertDocuments, write, context)
            except RealmError as error:
                error.details["batch"] = str(batch)
                raise
            total.corpus_version = written.corpus_version
            total.documents_written += len(request.documents)
            batch += 1
        return total

    async def _write(self, method: Any, request: Any, context: Any) -> Any:
        request = _with_request_id(request)
        return await self._forwarder.call(method, request, context, WRITE_SECONDS)


class IndexServicer(index_pb2_grpc.IndexServiceServicer):
    def __init__(self, forwarder: Forwarder, local: LocalStatus, closing: Closing) -> None:
        self._forwarder = forwarder
        self._stub = forwarder.index
        self._local = local
        self._closing = closing

    async def GetIndexStatus(  # noqa: N802
        self, request: index_pb2.GetIndexStatusRequest, context: Any
    ) -> index_pb2.GetIndexStatusResponse:
        """Without an indexer: what the store and this gateway know."""
        most = min(STATUS_SECONDS, remaining(context) / 2)
        try:
            found: index_pb2.GetIndexStatusResponse = await self._forwarder.call(
                self._stub.GetIndexStatus, request, context, most
            )
        except (DependencyUnavailable, DeadlinePassed) as error:
            log.warning("status_without_indexer", error=error.message)
            return index_pb2.GetIndexStatusResponse(status=await self._local.status())
        return found

    async def ListGenerations(  # noqa: N802
        self, request: index_pb2.ListGenerationsRequest, context: Any
    ) -> Any:
        if request.HasField("limit"):
            check_count("limit", request.limit, MAX_GENERATIONS)
        return await self._forwarder.call(
            self._stub.ListGenerations, request, context, WRITE_SECONDS
        )

    async def WatchIndex(  # noqa: N802
        self, request: index_pb2.WatchIndexRequest, context: Any
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        responses = self._stub.WatchIndex(
            request, timeout=context.time_remaining(), metadata=_metadata(context)
        )
        try:
            async for response in self._closing.guard(aiter(responses)):
                yield response
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._forwarder.peer) from error
        finally:
            responses.cancel()

    async def RefreshIndex(  # noqa: N802
        self, request: index_pb2.RefreshIndexRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(self._stub.RefreshIndex, request, context, WRITE_SECONDS)

    async def RollBackIndex(  # noqa: N802
        self, request: index_pb2.RollBackIndexRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(self._stub.RollBackIndex, request, context, WRITE_SECONDS)

    async def PauseRefresh(  # noqa: N802
        self, request: index_pb2.PauseRefreshRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(self._stub.PauseRefresh, request, context, WRITE_SECONDS)


def _with_request_id(request: Any) -> Any:
    """The id makes it safe to send the write again.

    :raises InvalidInput: if it is longer than any id.
    """
    if len(request.request_id) > MAX_REQUEST_ID:
        raise InvalidInput(
            f"request_id has {len(request.request_id)} characters, the limit is {MAX_REQUEST_ID}",
            field="request_id",
        )
    if not request.request_id:
        request.request_id = str(uuid.uuid4())
    return request


def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if not key.startswith(_HOP_BY_HOP)
    )
