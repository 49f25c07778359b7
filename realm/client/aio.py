"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from realm.client.arguments import called, text
from realm.client.questions import Questions, Reply
from realm.client.requests import (
    DEFAULT_ADDRESS,
    DEFAULT_SECONDS,
    IMPORT_PATIENCE_SECONDS,
    RETRY_PAUSE_SECONDS,
    STREAM_SECONDS,
    Stubs,
    ask_request,
    batches,
    delete_request,
    generations_request,
    get_request,
    pause_request,
    questions_asked,
    refresh_request,
    roll_back_request,
    search_request,
    seconds,
    upsert_request,
)
from realm.client.watching import Watching
from realm.client.wire import channel_options, dial, from_rpc_error
from realm.errors import DependencyUnavailable, FailedPrecondition, NotReady, RealmError
from realm.tracing.client import aio_interceptors
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2

Response = TypeVar("Response")


class AsyncClient:
    """As `realm.client.blocking.Client`, for asyncio.

    >>> async with AsyncClient() as client:
    ...     answer = await client.ask("who built the Eiffel tower?")
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float | None = DEFAULT_SECONDS
    ) -> None:
        self.address = text("address", address)
        self.timeout = seconds(timeout)
        self._closed = False
        self._channel = _channel(address)
        self._stubs = Stubs(self._channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
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

    def ask_many(
        self,
        questions: Iterable[str],
        *,
        passages: int = 5,
        answers: int = 1,
        at_least_version: int = 0,
        retrieval: str = "",
        timeout: float | None = STREAM_SECONDS,
    ) -> AsyncIterator[Reply]:
        return self._replies(
            questions_asked(questions, passages, answers, at_least_version, retrieval, timeout)
        )

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
        request = get_request(document_id)
        return await self._call(self._stubs.corpus.GetDocument, request)

    async def import_documents(
        self,
        documents: Iterable[types_pb2.Document],
        *,
        on_written: Callable[[int], None] = lambda documents: None,
    ) -> corpus_pb2.ImportDocumentsResponse:
        called("on_written", on_written)
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

    def watch(
        self,
        *,
        timeout: float | None = None,
        on_lost: Callable[[RealmError], None] = lambda error: None,
    ) -> AsyncIterator[index_pb2.IndexStatus]:
        called("on_lost", on_lost)
        return self._statuses(Watching(seconds(timeout), time.monotonic, on_lost))

    async def generations(self, *, limit: int = 20) -> list[index_pb2.Generation]:
        request = generations_request(limit)
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
        request = refresh_request(reason, generation, force, by)
        return await self._call(self._stubs.index.RefreshIndex, request)

    async def roll_back(self, *, reason: str = "") -> index_pb2.RollBackIndexResponse:
        request = roll_back_request(reason)
        return await self._call(self._stubs.index.RollBackIndex, request)

    async def pause(
        self, paused: bool = True, *, reason: str = ""
    ) -> index_pb2.PauseRefreshResponse:
        request = pause_request(paused, reason)
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

    async def _replies(self, asked: Questions) -> AsyncIterator[Reply]:
        try:
            asked.begin()
            while not asked.done:
                broke = None
                try:
                    async with aclosing(self._round(asked)) as replies:
                        async for reply in replies:
                            yield reply
                except RealmError as error:
                    broke = error
                pause, given_up = asked.after_round(broke)
                for reply in given_up:
                    yield reply
                await asyncio.sleep(pause)
            asked.raise_fault()
        finally:
            asked.close()

    async def _round(self, asked: Questions) -> AsyncGenerator[Reply, None]:
        method, requests = self._stubs.answers.AnswerQuestions, asked.requests()
        async with aclosing(self._stream(method, requests, asked.left)) as responses:
            async for response in responses:
                if (reply := asked.heard(response)) is not None:
                    yield reply
                if asked.round_is_over:
                    return

    async def _statuses(self, watching: Watching) -> AsyncIterator[index_pb2.IndexStatus]:
        request = index_pb2.WatchIndexRequest()
        while True:
            broke = None
            try:
                method = self._stubs.index.WatchIndex
                async with aclosing(self._stream(method, request, watching.left)) as responses:
                    async for each in responses:
                        if watching.news(each):
                            yield each.status
            except RealmError as error:
                broke = error
            await asyncio.sleep(watching.lost(broke))

    async def _call(self, method: Callable[..., Awaitable[Response]], request: Any) -> Response:
        try:
            return await method(request, timeout=self.timeout)
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise self._told(error) from error

    async def _stream(
        self, method: Callable[..., Any], request: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        responses = None
        try:
            responses = method(request, timeout=timeout)
            async for response in responses:
                yield response
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise self._told(error) from error
        finally:
            if responses is not None:
                responses.cancel()

    def _told(self, error: BaseException) -> BaseException:
        """gRPC's errors as ours. It cancels the calls of a channel that is closed, and so whoever
        waits for one; a caller who was cancelled hears that."""
        task = asyncio.current_task()
        if self._closed and not (task is not None and task.cancelling()):
            return FailedPrecondition("this client is closed: make another one")
        return from_rpc_error(error, self._peer) if isinstance(error, grpc.RpcError) else error

    @property
    def _peer(self) -> str:
        return f"the gateway at {self.address}"


def _channel(address: str) -> grpc.aio.Channel:
    target, credentials = dial(address)
    options, interceptors = channel_options(target), aio_interceptors()
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)
