"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
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
from realm.tracing.client import traced
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2

Response = TypeVar("Response")


class Client:
    """Blocking; thread-safe. `timeout` is the deadline of each call, in seconds; or None.

    :param address: `host:port`, a gRPC target, or `https://host[:port]` for TLS.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float | None = DEFAULT_SECONDS
    ) -> None:
        self.address = text("address", address)
        self.timeout = seconds(timeout)
        self._closed = False
        self._channel = traced(_channel(address))
        self._stubs = Stubs(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def search(
        self, question: str, *, limit: int = 5, at_least_version: int = 0, retrieval: str = ""
    ) -> retrieval_pb2.RetrievePassagesResponse:
        """The passages that most likely help to answer a question, best first.

        `retrieval` is dense, bm25 or hybrid; empty: what the gateway is set to.
        """
        request = search_request(question, limit, at_least_version, retrieval)
        return self._call(self._stubs.retrieval.RetrievePassages, request)

    def ask(
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
        return self._call(self._stubs.answers.AnswerQuestion, request)

    def ask_many(
        self,
        questions: Iterable[str],
        *,
        passages: int = 5,
        answers: int = 1,
        at_least_version: int = 0,
        retrieval: str = "",
        timeout: float | None = STREAM_SECONDS,
    ) -> Iterator[Reply]:
        """Answers over one call, as they are ready; each says which question it belongs to.

        What the gateway refuses for the moment is asked again. What the iterable raises is raised
        here, after the answers to all questions before.
        """
        return self._replies(
            questions_asked(questions, passages, answers, at_least_version, retrieval, timeout)
        )

    def upsert(
        self, documents: Iterable[types_pb2.Document], *, request_id: str = ""
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Writes up to 1,000 documents, all or none; durable on return."""
        request = upsert_request(documents, request_id)
        return self._call(self._stubs.corpus.UpsertDocuments, request)

    def delete(
        self, document_ids: Iterable[str], *, request_id: str = ""
    ) -> corpus_pb2.DeleteDocumentsResponse:
        """Deletes documents; durable on return."""
        request = delete_request(document_ids, request_id)
        return self._call(self._stubs.corpus.DeleteDocuments, request)

    def get(self, document_id: str) -> corpus_pb2.GetDocumentResponse:
        """:raises NotFound: if there is no such document."""
        request = get_request(document_id)
        return self._call(self._stubs.corpus.GetDocument, request)

    def import_documents(
        self,
        documents: Iterable[types_pb2.Document],
        *,
        on_written: Callable[[int], None] = lambda documents: None,
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Writes any number of documents in batches; `on_written` hears of each batch's size.

        Once begun it outlasts a service that goes away for up to a minute.
        """
        called("on_written", on_written)
        total = corpus_pb2.ImportDocumentsResponse()
        for batch in batches(documents):
            begun = total.documents_written > 0
            written = self._patiently(batch) if begun else self._upsert(batch)
            total.corpus_version = written.corpus_version
            total.documents_written += len(batch.documents)
            on_written(len(batch.documents))
        return total

    def status(self) -> index_pb2.IndexStatus:
        """What is live, what is being built, how far the index lags."""
        request = index_pb2.GetIndexStatusRequest()
        response: index_pb2.GetIndexStatusResponse = self._call(
            self._stubs.index.GetIndexStatus, request
        )
        return response.status

    def watch(
        self,
        *,
        timeout: float | None = None,
        on_lost: Callable[[RealmError], None] = lambda error: None,
    ) -> Iterator[index_pb2.IndexStatus]:
        """The status now and at every change, until `timeout` or for ever.

        Goes on with another gateway or leader when one goes away; `on_lost` hears of it.
        """
        called("on_lost", on_lost)
        return self._statuses(Watching(seconds(timeout), time.monotonic, on_lost))

    def generations(self, *, limit: int = 20) -> list[index_pb2.Generation]:
        """Generations that still exist, newest first."""
        request = generations_request(limit)
        response: index_pb2.ListGenerationsResponse = self._call(
            self._stubs.index.ListGenerations, request
        )
        return list(response.generations)

    def refresh(
        self,
        *,
        reason: str = "",
        generation: int | None = None,
        force: bool = False,
        by: str = "",
    ) -> index_pb2.RefreshIndexResponse:
        """Asks for a new generation from the newest snapshot, or from another generation's.

        With `force` it goes live though the gate finds it worse; `by` says who wants that.
        """
        request = refresh_request(reason, generation, force, by)
        return self._call(self._stubs.index.RefreshIndex, request)

    def roll_back(self, *, reason: str = "") -> index_pb2.RollBackIndexResponse:
        """Makes the retained generation live again and pauses refresh. Never sent twice."""
        request = roll_back_request(reason)
        return self._call(self._stubs.index.RollBackIndex, request)

    def pause(self, paused: bool = True, *, reason: str = "") -> index_pb2.PauseRefreshResponse:
        """Pauses automatic refresh, or resumes it."""
        request = pause_request(paused, reason)
        return self._call(self._stubs.index.PauseRefresh, request)

    def _upsert(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        return self._call(self._stubs.corpus.UpsertDocuments, batch)

    def _patiently(
        self, batch: corpus_pb2.UpsertDocumentsRequest
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Safe to repeat: the batch keeps its request id."""
        deadline = time.monotonic() + IMPORT_PATIENCE_SECONDS
        while True:
            try:
                return self._upsert(batch)
            except (NotReady, DependencyUnavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_PAUSE_SECONDS)

    def _replies(self, asked: Questions) -> Iterator[Reply]:
        try:
            asked.begin()
            while not asked.done:
                broke = None
                try:
                    yield from self._round(asked)
                except RealmError as error:
                    broke = error
                pause, given_up = asked.after_round(broke)
                yield from given_up
                time.sleep(pause)
            asked.raise_fault()
        finally:
            asked.close()

    def _round(self, asked: Questions) -> Iterator[Reply]:
        method, requests = self._stubs.answers.AnswerQuestions, asked.requests()
        with closing(self._stream(method, requests, asked.left)) as responses:
            for response in responses:
                if (reply := asked.heard(response)) is not None:
                    yield reply
                if asked.round_is_over:
                    return

    def _statuses(self, watching: Watching) -> Iterator[index_pb2.IndexStatus]:
        request = index_pb2.WatchIndexRequest()
        while True:
            broke = None
            try:
                method = self._stubs.index.WatchIndex
                with closing(self._stream(method, request, watching.left)) as responses:
                    yield from (each.status for each in responses if watching.news(each))
            except RealmError as error:
                broke = error
            time.sleep(watching.lost(broke))

    def _call(self, method: Callable[..., Response], request: Any) -> Response:
        try:
            return method(request, timeout=self.timeout)
        except (grpc.RpcError, ValueError) as error:
            raise self._told(error) from error

    def _stream(
        self, method: Callable[..., Any], request: Any, timeout: float | None
    ) -> Generator[Any, None, None]:
        responses = None
        try:
            responses = method(request, timeout=timeout)
            yield from responses
        except (grpc.RpcError, ValueError) as error:
            raise self._told(error) from error
        finally:
            if responses is not None:
                responses.cancel()

    def _told(self, error: Exception) -> Exception:
        """gRPC's errors as ours; a closed channel is a ValueError to it."""
        if self._closed:
            return FailedPrecondition("this client is closed: make another one")
        return from_rpc_error(error, self._peer) if isinstance(error, grpc.RpcError) else error

    @property
    def _peer(self) -> str:
        return f"the gateway at {self.address}"


def _channel(address: str) -> grpc.Channel:
    target, credentials = dial(address)
    if credentials is None:
        return grpc.insecure_channel(target, options=channel_options(target))
    return grpc.secure_channel(target, credentials, options=channel_options(target))
