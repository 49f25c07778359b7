"""The client for asyncio, and the source of the blocking one.

`make client` writes `realm/client/blocking.py` from this file (`tools.blocking_client`), without
async and await; what differs otherwise is in `realm.client.transport`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from realm.client import arguments
from realm.client.credentials import Key, Tls
from realm.client.requests import (
    DEFAULT_ADDRESS,
    DEFAULT_SECONDS,
    IMPORT_RETRY_SECONDS,
    RETRY_PAUSE_SECONDS,
    STREAM_SECONDS,
    ask_request,
    batches,
    retrieval_name,
    upsert_request,
)
from realm.client.session import Session
from realm.client.streams import QuestionStream, Reply, StatusStream
from realm.client.transport import AsyncTransport
from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2


class AsyncClient:
    """Calls one gateway. `timeout` is the deadline of each call in seconds, None for no deadline.

    :param address: `host:port`, a gRPC target, or `https://host[:port]` for TLS.
    :param session: what its user has seen: no answer is older than that.
    :param key: an API key or a token, or a function that gives the one that is valid by now.
    :param tls: certificates beyond the machine's own; the address is `https://` then.
    :param insecure: whether the key may travel in plaintext to another machine.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float | None = DEFAULT_SECONDS,
        session: Session | None = None,
        key: Key = "",
        tls: Tls | None = None,
        insecure: bool = False,
    ) -> None:
        self.address = arguments.text("address", address)
        self.timeout = arguments.seconds("timeout", timeout)
        self._session = session
        self._transport = AsyncTransport(address, key=key, tls=tls, insecure=insecure)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def search(
        self,
        question: str,
        *,
        limit: int = 5,
        at_least_version: int = 0,
        retrieval: str = "",
        rerank: int = 0,
        least_score: float | None = None,
    ) -> retrieval_pb2.RetrievePassagesResponse:
        """The passages that most likely help to answer a question, best first.

        `retrieval` is hybrid, dense, bm25 or rank_fusion; empty: the gateway's own setting. The
        best `rerank` passages, 20 at the most, are read and ranked by what is found in them as
        well. Passages of a score below `least_score` are left out; perhaps none is left.
        """
        request = retrieval_pb2.RetrievePassagesRequest(
            question=arguments.text("question", question),
            limit=arguments.count("limit", limit),
            at_least_version=arguments.uint64("at_least_version", at_least_version),
            retrieval=retrieval_name(retrieval),
            rerank=arguments.integer("rerank", rerank, arguments.UINT32) or None,
            least_score=arguments.number("least_score", least_score),
        )
        return await self._read(self._transport.retrieval.RetrievePassages, request)

    async def ask(
        self,
        question: str,
        *,
        passages: int = 5,
        answers: int = 1,
        at_least_version: int = 0,
        retrieval: str = "",
    ) -> answer_pb2.AnswerQuestionResponse:
        """The most probable answers with their sources."""
        request = ask_request(question, passages, answers, at_least_version, retrieval)
        return await self._read(self._transport.answers.AnswerQuestion, request)

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
        """Answers over one call, as they become ready; each names its question.

        Questions that the gateway refuses for the moment are asked again. An exception of
        `questions` itself is raised here, after the answers to all questions before it.
        """
        shared = self._after_session(
            ask_request("", passages, answers, at_least_version, retrieval)
        )
        checked = arguments.texts("questions", questions)
        return self._replies(
            QuestionStream(checked, shared, seconds=arguments.seconds("timeout", timeout))
        )

    async def upsert(
        self, documents: Iterable[types_pb2.Document], *, request_id: str = ""
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Writes up to 1,000 documents, all or none; durable on return."""
        return await self._upsert(upsert_request(documents, request_id))

    async def delete(
        self, document_ids: Iterable[str], *, request_id: str = ""
    ) -> corpus_pb2.DeleteDocumentsResponse:
        """Deletes documents; durable on return."""
        request = corpus_pb2.DeleteDocumentsRequest(
            request_id=arguments.request_id(request_id),
            document_ids=arguments.texts("document_ids", document_ids),
        )
        return await self._write(self._transport.corpus.DeleteDocuments, request)

    async def get(self, document_id: str) -> corpus_pb2.GetDocumentResponse:
        """:raises NotFound: if there is no such document."""
        request = corpus_pb2.GetDocumentRequest(
            document_id=arguments.text("document_id", document_id)
        )
        return await self._call(self._transport.corpus.GetDocument, request)

    async def import_documents(
        self,
        documents: Iterable[types_pb2.Document],
        *,
        on_written: Callable[[int], None] = lambda documents: None,
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Writes any number of documents in batches; `on_written` gets each batch's size.

        After the first batch it retries for up to a minute while the service is away.
        """
        arguments.called("on_written", on_written)
        total = corpus_pb2.ImportDocumentsResponse()
        for batch in batches(documents):
            begun = total.documents_written > 0
            written = await (self._retry_upsert(batch) if begun else self._upsert(batch))
            total.corpus_version = written.corpus_version
            total.documents_written += len(batch.documents)
            on_written(len(batch.documents))
        return total

    async def status(self) -> index_pb2.IndexStatus:
        """What is live, what is being built, how far the index lags."""
        request = index_pb2.GetIndexStatusRequest()
        response: index_pb2.GetIndexStatusResponse = await self._call(
            self._transport.index.GetIndexStatus, request
        )
        return response.status

    def watch(
        self,
        *,
        timeout: float | None = None,
        on_lost: Callable[[RealmError], None] = lambda error: None,
    ) -> AsyncIterator[index_pb2.IndexStatus]:
        """The status now and at every change, until `timeout` or for ever.

        Continues with another gateway or leader when one goes away, and calls `on_lost` then.
        """
        arguments.called("on_lost", on_lost)
        return self._statuses(StatusStream(arguments.seconds("timeout", timeout), on_lost))

    async def generations(self, *, limit: int = 20) -> list[index_pb2.Generation]:
        """Generations that still exist, newest first."""
        request = index_pb2.ListGenerationsRequest(limit=arguments.count("limit", limit))
        response: index_pb2.ListGenerationsResponse = await self._call(
            self._transport.index.ListGenerations, request
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
        """Requests a new generation from the newest snapshot, or from another generation's.

        With `force` it goes live even if the gate finds it worse; `by` names who wants that.
        """
        request = index_pb2.RefreshIndexRequest(
            reason=arguments.text("reason", reason),
            generation=None if generation is None else arguments.uint64("generation", generation),
            force=arguments.flag("force", force),
            by=arguments.text("by", by),
        )
        return await self._call(self._transport.index.RefreshIndex, request)

    async def roll_back(
        self, *, reason: str = "", request_id: str = ""
    ) -> index_pb2.RollBackIndexResponse:
        """Makes the retained generation live again and pauses refresh.

        Never sent twice by itself. After an error that leaves it in doubt, call again with the
        same `request_id`: it is carried out once.
        """
        request = index_pb2.RollBackIndexRequest(
            reason=arguments.text("reason", reason), request_id=arguments.request_id(request_id)
        )
        return await self._call(self._transport.index.RollBackIndex, request)

    async def pause(
        self, paused: bool = True, *, reason: str = ""
    ) -> index_pb2.PauseRefreshResponse:
        """Pauses automatic refresh, or resumes it."""
        request = index_pb2.PauseRefreshRequest(
            paused=arguments.flag("paused", paused), reason=arguments.text("reason", reason)
        )
        return await self._call(self._transport.index.PauseRefresh, request)

    async def _call(self, method: Callable[..., Any], request: Any) -> Any:
        return await self._transport.call(method, request, self.timeout)

    async def _read(self, method: Callable[..., Any], request: Any) -> Any:
        response = await self._call(method, self._after_session(request))
        self._note(response.index_version.corpus_version)
        return response

    async def _write(self, method: Callable[..., Any], request: Any) -> Any:
        response = await self._call(method, request)
        self._note(response.corpus_version)
        return response

    def _after_session(self, request: Any) -> Any:
        """The request, for an index that holds what the session has seen."""
        if self._session is not None:
            request.at_least_version = max(request.at_least_version, self._session.seen)
        return request

    def _note(self, corpus_version: int) -> None:
        if self._session is not None:
            self._session.note(corpus_version)

    async def _upsert(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        response: corpus_pb2.UpsertDocumentsResponse = await self._write(
            self._transport.corpus.UpsertDocuments, batch
        )
        return response

    async def _retry_upsert(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Safe to repeat: the batch keeps its request id."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((NotReady, DependencyUnavailable)),
            stop=stop_after_delay(IMPORT_RETRY_SECONDS),
            wait=wait_fixed(RETRY_PAUSE_SECONDS),
            reraise=True,
        )
        return await retrying(self._upsert, batch)

    async def _replies(self, stream: QuestionStream) -> AsyncIterator[Reply]:
        try:
            stream.begin()
            while not stream.done:
                error = None
                try:
                    async with aclosing(self._round(stream)) as replies:
                        async for reply in replies:
                            yield reply
                except RealmError as raised:
                    error = raised
                pause, given_up = stream.end_round(error)
                for reply in given_up:
                    yield reply
                await self._transport.sleep(pause)
            stream.raise_fault()
        finally:
            stream.close()

    async def _round(self, stream: QuestionStream) -> AsyncGenerator[Reply, None]:
        method, requests = self._transport.answers.AnswerQuestions, stream.requests()
        async with aclosing(
            self._transport.stream(method, requests, stream.seconds_left)
        ) as responses:
            async for response in responses:
                if (reply := stream.receive(response)) is not None:
                    self._note(response.answer.index_version.corpus_version)
                    yield reply
                if stream.round_is_over:
                    return

    async def _statuses(self, stream: StatusStream) -> AsyncIterator[index_pb2.IndexStatus]:
        method, request = self._transport.index.WatchIndex, index_pb2.WatchIndexRequest()
        while True:
            error = None
            try:
                async with aclosing(
                    self._transport.stream(method, request, stream.seconds_left)
                ) as responses:
                    async for response in responses:
                        if stream.is_news(response):
                            yield response.status
            except RealmError as raised:
                error = raised
            await self._transport.sleep(stream.pause_after(error))
