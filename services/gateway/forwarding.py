"""CorpusService and IndexService: checked here, done by the leading indexer.

Deadline, metadata, results and errors pass through in both directions.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import structlog

from realm.corpus.documents import one_form, shown
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    NotReady,
    RealmError,
    RequestIdReused,
)
from realm.process.rpc import from_rpc_error, remaining
from realm.settings import Settings
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc
from services.gateway.checks import (
    MAX_GENERATIONS,
    MAX_WRITES,
    check_count,
    check_document_id,
    check_document_ids,
    check_documents,
)
from services.gateway.closing import Closing, until
from services.gateway.events import happens
from services.gateway.leader import Leader
from services.gateway.status import LocalStatus

log = structlog.get_logger(__name__)

#: Longest wait for one write; a group commit takes a fraction of a second.
WRITE_SECONDS = 60.0
#: How long the indexer is asked for its status before the gateway says what it knows itself.
STATUS_SECONDS = 3.0
#: Between two calls while nobody leads.
PAUSE_SECONDS = 0.2
MAX_REQUEST_ID = 128

#: A method of the leader's stubs.
Pick = Callable[[Leader], Any]

#: Headers of the connection, not of the call.
_HOP_BY_HOP = ("grpc-", ":", "user-agent", "content-type", "te", "accept-encoding")


class Forwarder:
    """Calls the leader's methods on behalf of a caller, and again when another one leads."""

    def __init__(self, settings: Settings, leader: Leader) -> None:
        self.leader = leader
        self._patience = settings.gateway.leader_wait_seconds

    @property
    def peer(self) -> str:
        return f"the indexer at {self.leader.address}"

    async def call(
        self, pick: Pick, request: Any, context: Any, most: float, *, again: bool = True
    ) -> Any:
        """What the leader answers; waits for one while there is none.

        :param again: whether it may be asked twice: it may if it changes nothing, or nothing
            more under its request id.
        :raises RealmError: as the indexer raised it.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + remaining(context, most)
        patient_until = min(ends - PAUSE_SECONDS, loop.time() + self._patience)
        while True:
            try:
                attempt = self._attempt(pick, request, context, ends - loop.time())
                return await (self._unless_moved(attempt) if again else attempt)
            except (NotReady, DependencyUnavailable) as error:
                # A standby that refused has done nothing.
                harmless = again or "leader" in error.details
                if not harmless or "waited" in error.details or loop.time() >= patient_until:
                    raise
            await happens(self.leader.changed, PAUSE_SECONDS)

    async def _attempt(self, pick: Pick, request: Any, context: Any, seconds: float) -> Any:
        try:
            return await pick(self.leader)(
                request, timeout=max(0.0, seconds), metadata=_metadata(context)
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.peer) from error
        except asyncio.CancelledError:
            # A leader's channel that is closed cancels its calls, and whoever waits for one.
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise NotReady(
                "the indexer that was asked lost its lead before it answered: `realm status` says"
                " what it did"
            ) from None

    async def follow(self, pick: Pick, request: Any, context: Any) -> AsyncIterator[Any]:
        """What the leader streams, and goes on with the next leader's stream.

        :raises RealmError: if for as long as a write waits nobody streams anything.
        """
        loop = asyncio.get_running_loop()
        patient_until: float | None = None
        while True:
            changed = self.leader.changed
            responses = pick(self.leader)(
                request, timeout=context.time_remaining(), metadata=_metadata(context)
            )
            try:
                items = until(changed, aiter(responses), "another indexer leads", self._patience)
                async for response in items:
                    patient_until = None
                    yield response
                fault: RealmError = NotReady("the indexer ended the stream; call again")
            except grpc.RpcError as error:
                fault = from_rpc_error(error, self.peer)
            except NotReady as error:
                fault = error
            finally:
                responses.cancel()
            patient_until = patient_until or loop.time() + self._patience
            passing = isinstance(fault, NotReady | DependencyUnavailable)
            if not passing or loop.time() >= patient_until:
                raise fault
            await happens(changed, PAUSE_SECONDS)

    async def _unless_moved(self, attempt: Coroutine[Any, Any, Any]) -> Any:
        """A leader that is stopped never answers: whoever leads in its place does."""
        moved = asyncio.ensure_future(self.leader.changed.wait())
        answer = asyncio.ensure_future(attempt)
        try:
            await asyncio.wait({answer, moved}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise NotReady("another indexer leads now", leader=self.leader.address)
        finally:
            moved.cancel()
            answer.cancel()


class CorpusServicer(corpus_pb2_grpc.CorpusServiceServicer):
    def __init__(self, settings: Settings, forwarder: Forwarder, closing: Closing) -> None:
        self._max_bytes = settings.corpus.max_document_bytes
        self._forwarder = forwarder
        self._closing = closing

    async def UpsertDocuments(  # noqa: N802
        self, request: corpus_pb2.UpsertDocumentsRequest, context: Any
    ) -> Any:
        check_documents(request.documents, self._max_bytes)
        return await self._write(lambda leader: leader.corpus.UpsertDocuments, request, context)

    async def DeleteDocuments(  # noqa: N802
        self, request: corpus_pb2.DeleteDocumentsRequest, context: Any
    ) -> Any:
        check_document_ids(request.document_ids)
        # As given too, as far as a call goes: a store may hold ids from before they had one form.
        ids = dict.fromkeys([*map(one_form, request.document_ids), *request.document_ids])
        del request.document_ids[:]
        request.document_ids.extend(list(ids)[:MAX_WRITES])
        return await self._write(lambda leader: leader.corpus.DeleteDocuments, request, context)

    async def GetDocument(  # noqa: N802
        self, request: corpus_pb2.GetDocumentRequest, context: Any
    ) -> Any:
        check_document_id(request.document_id)
        one = corpus_pb2.GetDocumentRequest(document_id=one_form(request.document_id))
        try:
            return await self._get(one, context)
        except NotFound:
            if one == request:
                raise
            return await self._get(request, context)  # from before ids had one form

    async def _get(self, request: corpus_pb2.GetDocumentRequest, context: Any) -> Any:
        return await self._forwarder.call(
            lambda leader: leader.corpus.GetDocument, request, context, WRITE_SECONDS
        )

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[corpus_pb2.ImportDocumentsRequest], context: Any
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Batches before an unusable one, or before the gateway stops, are written; the error
        says which one it was.

        To the indexer each batch is a write of its own: one that meets a change of leaders is
        tried again under its request id, where a stream would break and forget its place.
        """
        total = corpus_pb2.ImportDocumentsResponse()
        batch = 0
        names: set[str] = set()
        async for request in self._closing.guard(requests):
            try:
                _check_new(request.request_id, names)
                check_documents(request.documents, self._max_bytes)
                write = corpus_pb2.UpsertDocumentsRequest(
                    request_id=request.request_id, documents=request.documents
                )
                written = await self._write(
                    lambda leader: leader.corpus.UpsertDocuments, write, context
                )
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
        self._local = local
        self._closing = closing

    async def GetIndexStatus(  # noqa: N802
        self, request: index_pb2.GetIndexStatusRequest, context: Any
    ) -> index_pb2.GetIndexStatusResponse:
        """Without an indexer: what the store and this gateway know."""
        most = min(STATUS_SECONDS, remaining(context) / 2)
        try:
            found: index_pb2.GetIndexStatusResponse = await self._forwarder.call(
                lambda leader: leader.index.GetIndexStatus, request, context, most
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
            lambda leader: leader.index.ListGenerations, request, context, WRITE_SECONDS
        )

    async def WatchIndex(  # noqa: N802
        self, request: index_pb2.WatchIndexRequest, context: Any
    ) -> AsyncIterator[index_pb2.WatchIndexResponse]:
        told: index_pb2.WatchIndexResponse | None = None
        watch = self._forwarder.follow(lambda leader: leader.index.WatchIndex, request, context)
        async for response in self._closing.guard(watch):
            if response != told:  # another leader may have no news
                told = response
                yield response

    async def RefreshIndex(  # noqa: N802
        self, request: index_pb2.RefreshIndexRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(
            lambda leader: leader.index.RefreshIndex, request, context, WRITE_SECONDS
        )

    async def RollBackIndex(  # noqa: N802
        self, request: index_pb2.RollBackIndexRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(
            lambda leader: leader.index.RollBackIndex, request, context, WRITE_SECONDS, again=False
        )

    async def PauseRefresh(  # noqa: N802
        self, request: index_pb2.PauseRefreshRequest, context: Any
    ) -> Any:
        return await self._forwarder.call(
            lambda leader: leader.index.PauseRefresh, request, context, WRITE_SECONDS
        )


def _check_new(request_id: str, before: set[str]) -> None:
    """Batches are writes of their own: one id for all would have all but the first left out.

    :raises RequestIdReused: if an earlier batch of the import had the id.
    """
    if request_id and request_id in before:
        raise RequestIdReused(
            f"an earlier batch of this import has the request id {shown(request_id)}: give each"
            " batch an id of its own, or none",
            field="request_id",
            request_id=shown(request_id),
        )
    before.add(request_id)


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
