"""The client for asyncio; to be had from `realm.client`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc

from realm.client_requests import (
    DEFAULT_ADDRESS,
    DEFAULT_SECONDS,
    IMPORT_PATIENCE_SECONDS,
    RETRY_PAUSE_SECONDS,
    STREAM_SECONDS,
    Questions,
    Reply,
    Stubs,
    answer_of,
    ask_request,
    batches,
    delete_request,
    search_request,
    upsert_request,
)
from realm.errors import DependencyUnavailable, NotReady
from realm.tracing_grpc import aio_interceptors
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2
from realm.wire import channel_options, dial, from_rpc_error

Response = TypeVar("Response")


class AsyncClient:
    """As `realm.client.Client`, for asyncio.

    >>> async with AsyncClient() as client:
    ...     answer = await client.ask("who built the Eiffel tower?")
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout: float = DEFAULT_SECONDS) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = _channel(address)
        self._stubs = Stubs(self._channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close(None)

    async def search(
        self, question: str, *, limit: int = 5, at_least_version: int = 0, retrieval: str = ""
    ) -> retrieval_pb2.RetrievePassagesResponse:
        request = search_request(question, limit, at_least_version, retrieval)
        return await self._call(self._stubs.retrieval.RetrievePassages, request)

    async def ask(
        self,
        question: str,
        *,
        passages: int = 5,
        answers: int = 1,
        at_least_version: int = 0,
        retrieval: str = "",
    ) -> answer_pb2.AnswerQuestionResponse:
        request = ask_request(question, passages, answers, at_least_version, retrieval)
        return await self._call(self._stubs.answers.AnswerQuestion, request)

    async def ask_many(
        self,
        questions: Iterable[str],
        *,
        passages: int = 5,
        answers: int = 1,
        retrieval: str = "",
        timeout: float = STREAM_SECONDS,
    ) -> AsyncIterator[Reply]:
        asked = Questions(questions, passages, answers, retrieval)
        responses = self._stubs.answers.AnswerQuestions(iter(asked), timeout=timeout)
        async for response in self._stream(responses):
            yield answer_of(asked, response)

    async def upsert(
        self, documents: Iterable[types_pb2.Document], *, request_id: str = ""
    ) -> corpus_pb2.UpsertDocumentsResponse:
        request = upsert_request(documents, request_id)
        return await self._call(self._stubs.corpus.UpsertDocuments, request)

    async def delete(
        self, document_ids: Iterable[str], *, request_id: str = ""
    ) -> corpus_pb2.DeleteDocumentsResponse:
        request = delete_request(document_ids, request_id)
        return await self._call(self._stubs.corpus.DeleteDocuments, request)

    async def get(self, document_id: str) -> corpus_pb2.GetDocumentResponse:
        request = corpus_pb2.GetDocumentRequest(document_id=document_id)
        return await self._call(self._stubs.corpus.GetDocument, request)

    async def import_documents(
        self,
        documents: Iterable[types_pb2.Document],
        *,
        on_written: Callable[[int], None] = lambda documents: None,
    ) -> corpus_pb2.ImportDocumentsResponse:
        total = corpus_pb2.ImportDocumentsResponse()
        for batch in batches(documents):
            begun = total.documents_written > 0
            written = await (self._patiently(batch) if begun else self._upsert(batch))
            total.corpus_version = written.corpus_version
            total.documents_written += len(batch.documents)
            on_written(len(batch.documents))
        return total

    async def status(self) -> index_pb2.IndexStatus:
        request = index_pb2.GetIndexStatusRequest()
        response: index_pb2.GetIndexStatusResponse = await self._call(
            self._stubs.index.GetIndexStatus, request
        )
        return response.status

    async def watch(self, *, timeout: float | None = None) -> AsyncIterator[index_pb2.IndexStatus]:
        request = index_pb2.WatchIndexRequest()
        responses = self._stubs.index.WatchIndex(request, timeout=timeout)
        async for response in self._stream(responses):
            yield response.status

    async def generations(self, *, limit: int = 20) -> list[index_pb2.Generation]:
        request = index_pb2.ListGenerationsRequest(limit=limit)
        response: index_pb2.ListGenerationsResponse = await self._call(
            self._stubs.index.ListGenerations, request
        )
        return list(response.generations)

    async def refresh(
        self,
        *,
        reason: str = "",
        generation: int | None = None,
        force: bool = False,
        by: str = "",
    ) -> index_pb2.RefreshIndexResponse:
        request = index_pb2.RefreshIndexRequest(
            reason=reason, generation=generation, force=force, by=by
        )
        return await self._call(self._stubs.index.RefreshIndex, request)

    async def roll_back(self, *, reason: str = "") -> index_pb2.RollBackIndexResponse:
        request = index_pb2.RollBackIndexRequest(reason=reason)
        return await self._call(self._stubs.index.RollBackIndex, request)

    async def pause(
        self, paused: bool = True, *, reason: str = ""
    ) -> index_pb2.PauseRefreshResponse:
        request = index_pb2.PauseRefreshRequest(paused=paused, reason=reason)
        return await self._call(self._stubs.index.PauseRefresh, request)

    async def _upsert(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        return await self._call(self._stubs.corpus.UpsertDocuments, batch)

    async def _patiently(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        deadline = time.monotonic() + IMPORT_PATIENCE_SECONDS
        while True:
            try:
                return await self._upsert(batch)
            except (NotReady, DependencyUnavailable):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _call(self, method: Callable[..., Awaitable[Response]], request: Any) -> Response:
        try:
            return await method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._peer) from error

    async def _stream(self, responses: Any) -> AsyncIterator[Any]:
        try:
            async for response in responses:
                yield response
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._peer) from error
        finally:
            responses.cancel()

    @property
    def _peer(self) -> str:
        return f"the gateway at {self.address}"


def _channel(address: str) -> grpc.aio.Channel:
    target, credentials = dial(address)
    options, interceptors = channel_options(), aio_interceptors()
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)
