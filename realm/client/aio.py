"""The client for asyncio, and the source of the blocking one.

`make client` writes `realm/client/blocking.py` from this file (`tools.blocking_client`), without
async and await; what differs otherwise is in `realm.client.transport`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Unpack

from tenacity import AsyncRetrying

from realm.client import arguments
from realm.client.arguments import Default
from realm.client.requests import (
    DEFAULT_ADDRESS,
    DEFAULT_SECONDS,
    STREAM_SECONDS,
    AskOptions,
    SearchOptions,
    Where,
    ask_request,
    batch_name,
    delete_request,
    list_request,
    pause_request,
    refresh_request,
    roll_back_request,
    search_request,
    upsert_request,
)
from realm.client.session import Session
from realm.client.streams import (
    ANSWERS,
    IMPORT_RETRIES,
    PASSAGES,
    ChangeStream,
    Found,
    One,
    QuestionStream,
    Reply,
)
from realm.client.transport import (
    AsyncDocuments,
    AsyncQuestions,
    AsyncTransport,
    ConnectionOptions,
)
from realm.errors import RealmError
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2

#: Of a call of its own, in seconds; None for no deadline.
Timeout = float | None | Default


class AsyncClient:
    """Calls one gateway. `timeout` is the deadline in seconds of each call that is given no other,
    None for no deadline.

    :param address: `host:port`, a gRPC target, or `https://host[:port]` for TLS.
    :param session: what its user has seen: no answer is older than that.
    :param options: as `ConnectionOptions` says.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float | None = DEFAULT_SECONDS,
        session: Session | None = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        self.address = arguments.text("address", address)
        self.timeout = arguments.seconds("timeout", timeout)
        self._session = session
        self._transport = AsyncTransport(address, **options)

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
        timeout: Timeout = Default.TIMEOUT,
        **options: Unpack[SearchOptions],
    ) -> retrieval_pb2.RetrievePassagesResponse:
        """The passages that most likely help to answer a question, best first."""
        request = search_request(question, **options)
        return await self._read(self._transport.retrieval.RetrievePassages, request, timeout)

    async def ask(
        self,
        question: str,
        *,
        timeout: Timeout = Default.TIMEOUT,
        **options: Unpack[AskOptions],
    ) -> answer_pb2.AnswerQuestionResponse:
        """The most probable answers with their sources."""
        request = ask_request(question, **options)
        return await self._read(self._transport.answers.AnswerQuestion, request, timeout)

    def search_many(
        self,
        questions: AsyncQuestions,
        *,
        timeout: float | None = STREAM_SECONDS,
        **options: Unpack[SearchOptions],
    ) -> AsyncIterator[Found]:
        """As `ask_many`, of the passages for each question."""
        shared = self._after_session(search_request("", **options))
        stream = self._transport.questions(PASSAGES, questions, shared, timeout)
        return self._replies(stream, self._transport.retrieval.BatchRetrievePassages)

    def ask_many(
        self,
        questions: AsyncQuestions,
        *,
        timeout: float | None = STREAM_SECONDS,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Reply]:
        """Answers over one call, as they become ready; each names its question.

        Questions that the gateway refuses for the moment are asked again. An exception of
        `questions` itself is raised here, after the answers to all questions before it.
        """
        shared = self._after_session(ask_request("", **options))
        stream = self._transport.questions(ANSWERS, questions, shared, timeout)
        return self._replies(stream, self._transport.answers.AnswerQuestions)

    async def upsert(
        self,
        documents: Iterable[types_pb2.Document],
        *,
        request_id: str = "",
        timeout: Timeout = Default.TIMEOUT,
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Writes up to 1,000 documents, all or none; durable on return."""
        return await self._upsert(upsert_request(documents, request_id), timeout)

    async def delete(
        self,
        document_ids: Iterable[str] = (),
        *,
        where: Where = None,
        request_id: str = "",
        timeout: Timeout = Default.TIMEOUT,
    ) -> corpus_pb2.DeleteDocumentsResponse:
        """Deletes documents, named or all, of these only those for which `where` holds; durable on
        return. Without names one call deletes 10,000 at the most, and says whether there are more.
        """
        request = delete_request(document_ids, request_id, where)
        return await self._write(self._transport.corpus.DeleteDocuments, request, timeout)

    async def get(
        self, document_id: str, *, timeout: Timeout = Default.TIMEOUT
    ) -> corpus_pb2.GetDocumentResponse:
        """:raises NotFound: if there is no such document."""
        request = corpus_pb2.GetDocumentRequest(
            document_id=arguments.text("document_id", document_id)
        )
        return await self._call(self._transport.corpus.GetDocument, request, timeout)

    async def documents(
        self,
        *,
        where: Where = None,
        with_text: bool = False,
        timeout: Timeout = Default.TIMEOUT,
    ) -> AsyncIterator[corpus_pb2.ListedDocument]:
        """All documents, or those for which `where` holds, page by page; each page is a call."""
        request = list_request(where, with_text)
        while True:
            page = await self._call(self._transport.corpus.ListDocuments, request, timeout)
            for each in page.documents:
                yield each
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def import_documents(
        self,
        documents: AsyncDocuments,
        *,
        name: str = "",
        after: int = 0,
        on_written: Callable[[int], None] = lambda documents: None,
        timeout: Timeout = Default.TIMEOUT,
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Writes any number of documents in batches; `on_written` gets each batch's size.

        After the first batch it retries for up to a minute while the service is away; `timeout` is
        a batch's. One that was interrupted is continued under its `name`, `after` so many documents
        that are known to be written: a batch is written once.
        """
        arguments.called("on_written", on_written)
        arguments.text("name", name)
        arguments.uint64("after", after)
        total = corpus_pb2.ImportDocumentsResponse()
        async for batch in self._transport.batches(documents):
            if name:
                batch.request_id = batch_name(name, after + total.documents_written, batch)
            upsert = self._retry_upsert if total.documents_written else self._upsert
            written = await upsert(batch, timeout)
            total.corpus_version = written.corpus_version
            total.documents_written += len(batch.documents)
            on_written(len(batch.documents))
        return total

    async def status(self, *, timeout: Timeout = Default.TIMEOUT) -> index_pb2.IndexStatus:
        """What is live, what is being built, how far the index lags."""
        request = index_pb2.GetIndexStatusRequest()
        return (await self._call(self._transport.index.GetIndexStatus, request, timeout)).status

    def watch(
        self,
        *,
        timeout: float | None = None,
        on_lost: Callable[[RealmError], None] = lambda error: None,
    ) -> AsyncIterator[index_pb2.IndexStatus]:
        """The status now and at every change, until `timeout` or for ever.

        Continues with another gateway or leader when one goes away, and calls `on_lost` then.
        """
        stream = ChangeStream(timeout, on_lost)
        method, request = self._transport.index.WatchIndex, index_pb2.WatchIndexRequest()
        return self._changes(stream, method, request, lambda response: response.status)

    async def generations(
        self, *, limit: int = 20, timeout: Timeout = Default.TIMEOUT
    ) -> list[index_pb2.Generation]:
        """Generations that still exist, newest first."""
        request = index_pb2.ListGenerationsRequest(limit=arguments.count("limit", limit))
        listed = await self._call(self._transport.index.ListGenerations, request, timeout)
        return list(listed.generations)

    async def generation(
        self, number: int, *, timeout: Timeout = Default.TIMEOUT
    ) -> index_pb2.Generation:
        """:raises NotFound: if there is none of that number."""
        request = index_pb2.GetGenerationRequest(generation=arguments.uint64("number", number))
        return (await self._call(self._transport.index.GetGeneration, request, timeout)).generation

    async def refresh(
        self,
        *,
        reason: str = "",
        generation: int | None = None,
        force: bool = False,
        by: str = "",
        timeout: Timeout = Default.TIMEOUT,
    ) -> index_pb2.RefreshIndexResponse:
        """Requests a new generation from the newest snapshot, or from another generation's.

        With `force` it goes live even if the gate finds it worse; `by` names who wants that.
        `follow` tells how far the response's operation is.
        """
        request = refresh_request(reason, generation, force, by)
        return await self._call(self._transport.index.RefreshIndex, request, timeout)

    def follow(
        self,
        operation: int,
        *,
        timeout: float | None = None,
        on_lost: Callable[[RealmError], None] = lambda error: None,
    ) -> AsyncIterator[index_pb2.FollowRefreshResponse]:
        """How far a refresh is that `refresh` requested, now and at every change, until it is done.

        Continues as `watch` does.
        """
        stream = ChangeStream(timeout, on_lost)
        number = arguments.uint64("operation", operation)
        request = index_pb2.FollowRefreshRequest(operation=number)
        method = self._transport.index.FollowRefresh
        return self._changes(stream, method, request, lambda response: response)

    async def roll_back(
        self, *, reason: str = "", request_id: str = "", timeout: Timeout = Default.TIMEOUT
    ) -> index_pb2.RollBackIndexResponse:
        """Makes the retained generation live again and pauses refresh.

        Never sent twice by itself. After an error that leaves it in doubt, call again with the
        same `request_id`: it is carried out once.
        """
        request = roll_back_request(reason, request_id)
        return await self._call(self._transport.index.RollBackIndex, request, timeout)

    async def pause(
        self, paused: bool = True, *, reason: str = "", timeout: Timeout = Default.TIMEOUT
    ) -> index_pb2.PauseRefreshResponse:
        """Pauses automatic refresh, or resumes it."""
        request = pause_request(paused, reason)
        return await self._call(self._transport.index.PauseRefresh, request, timeout)

    async def call(self, request: Any, *, timeout: Timeout = Default.TIMEOUT) -> Any:
        """Sends a request of `realm.v1` as it is, and gives the response: for whoever has messages
        already. A session neither changes nor learns from it.

        :raises InvalidInput: if it is no request of one response.
        """
        return await self._call(self._transport.method_of(request), request, timeout)

    async def _call(self, method: Callable[..., Any], request: Any, timeout: Timeout) -> Any:
        seconds = arguments.deadline(timeout, self.timeout)
        return await self._transport.call(method, request, seconds)

    async def _read(self, method: Callable[..., Any], request: Any, timeout: Timeout) -> Any:
        seconds = arguments.deadline(timeout, self.timeout)
        response = await self._transport.read(method, self._after_session(request), seconds)
        self._note(response.index_version.corpus_version)
        return response

    async def _write(self, method: Callable[..., Any], request: Any, timeout: Timeout) -> Any:
        response = await self._call(method, request, timeout)
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
        self, batch: corpus_pb2.UpsertDocumentsRequest, timeout: Timeout
    ) -> corpus_pb2.UpsertDocumentsResponse:
        return await self._write(self._transport.corpus.UpsertDocuments, batch, timeout)

    async def _retry_upsert(
        self, batch: corpus_pb2.UpsertDocumentsRequest, timeout: Timeout
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Safe to repeat: the batch keeps its request id."""
        return await AsyncRetrying(**IMPORT_RETRIES)(self._upsert, batch, timeout)

    async def _replies(
        self, stream: QuestionStream[One], method: Callable[..., Any]
    ) -> AsyncIterator[One]:
        try:
            stream.begin()
            while not stream.done:
                error = None
                try:
                    async with aclosing(self._round(stream, method)) as replies:
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

    async def _round(
        self, stream: QuestionStream[One], method: Callable[..., Any]
    ) -> AsyncGenerator[One, None]:
        requests, left = stream.requests(), stream.seconds_left
        async with aclosing(self._transport.stream(method, requests, left)) as responses:
            async for response in responses:
                if (reply := stream.receive(response)) is not None:
                    outcome = getattr(response, stream.kind.outcome)
                    self._note(outcome.index_version.corpus_version)
                    yield reply
                if stream.round_is_over:
                    return

    async def _changes(
        self,
        stream: ChangeStream,
        method: Callable[..., Any],
        request: Any,
        found: Callable[[Any], Any],
    ) -> AsyncIterator[Any]:
        while True:
            error = None
            try:
                async with aclosing(
                    self._transport.stream(method, request, stream.seconds_left)
                ) as responses:
                    async for response in responses:
                        if stream.is_news(response):
                            yield found(response)
                        if stream.done:
                            return
            except RealmError as raised:
                error = raised
            await self._transport.sleep(stream.pause_after(error))
