"""The client: search, answers, writes and the index over gRPC. Needs gRPC and protobuf alone.

>>> from realm.client import Client, document
>>> with Client("127.0.0.1:50051") as client:
...     version = client.upsert([document("eiffel", "Gustave Eiffel's company built it.")])
...     answer = client.ask("who built it?", at_least_version=version.corpus_version)
...     print(answer.answers[0].text, answer.index_version.generation)

Results are the messages of `realm.v1`; errors are those of `realm.errors`. Every call has a
deadline and is tried again while the service is unavailable; writes carry a request id, so that
a write sent twice is one write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from realm.client_aio import AsyncClient
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
    document,
    search_request,
    upsert_request,
)
from realm.errors import DependencyUnavailable, NotReady
from realm.tracing_grpc import traced
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2
from realm.wire import channel_options, dial, from_rpc_error

__all__ = ["AsyncClient", "Client", "Reply", "document"]


Response = TypeVar("Response")


class Client:
    """Blocking; thread-safe. `timeout` is the deadline of each call, in seconds.

    :param address: `host:port`, a gRPC target, or `https://host[:port]` for TLS.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout: float = DEFAULT_SECONDS) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = traced(_channel(address))
        self._stubs = Stubs(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
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
        retrieval: str = "",
        timeout: float = STREAM_SECONDS,
    ) -> Iterator[Reply]:
        """Answers over one call, as they are ready; each says which question it belongs to."""
        asked = Questions(questions, passages, answers, retrieval)
        responses = self._stubs.answers.AnswerQuestions(iter(asked), timeout=timeout)
        for response in self._stream(responses):
            yield answer_of(asked, response)

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
        request = corpus_pb2.GetDocumentRequest(document_id=document_id)
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

    def watch(self, *, timeout: float | None = None) -> Iterator[index_pb2.IndexStatus]:
        """The status now and at every change, until `timeout` or for ever."""
        request = index_pb2.WatchIndexRequest()
        for response in self._stream(self._stubs.index.WatchIndex(request, timeout=timeout)):
            yield response.status

    def generations(self, *, limit: int = 20) -> list[index_pb2.Generation]:
        """Generations that still exist, newest first."""
        request = index_pb2.ListGenerationsRequest(limit=limit)
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
        request = index_pb2.RefreshIndexRequest(
            reason=reason, generation=generation, force=force, by=by
        )
        return self._call(self._stubs.index.RefreshIndex, request)

    def roll_back(self, *, reason: str = "") -> index_pb2.RollBackIndexResponse:
        """Makes the retained generation live again and pauses refresh. Never sent twice."""
        request = index_pb2.RollBackIndexRequest(reason=reason)
        return self._call(self._stubs.index.RollBackIndex, request)

    def pause(self, paused: bool = True, *, reason: str = "") -> index_pb2.PauseRefreshResponse:
        """Pauses automatic refresh, or resumes it."""
        request = index_pb2.PauseRefreshRequest(paused=paused, reason=reason)
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

    def _call(self, method: Callable[..., Response], request: Any) -> Response:
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._peer) from error

    def _stream(self, responses: Any) -> Iterator[Any]:
        try:
            yield from responses
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._peer) from error
        finally:
            responses.cancel()

    @property
    def _peer(self) -> str:
        return f"the gateway at {self.address}"


def _channel(address: str) -> grpc.Channel:
    target, credentials = dial(address)
    if credentials is None:
        return grpc.insecure_channel(target, options=channel_options())
    return grpc.secure_channel(target, credentials, options=channel_options())
