"""The client: search, questions, writes and the state of the index, over gRPC.

Needs nothing of realm but its stubs. Responses are the API's own messages
(`protos/realm/v1`); errors are `RealmError`s.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc

from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
)
from realm.v1.types_pb2 import Document
from realm.wire import channel_options, from_rpc_error

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_SECONDS = 30.0

#: A document as the API's message, or as a mapping of its fields.
DocumentLike = Document | Mapping[str, Any]


class Client:
    """A blocking client; one serves many threads.

    >>> with Client("127.0.0.1:50051", timeout=10) as realm:
    ...     for hit in realm.search("how are floats rounded?").passages:
    ...         print(hit.passage.title, hit.probability)

    :param timeout: deadline of each call, in seconds.
    :param patient: whether calls wait, within their deadline, for a gateway that is down.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        patient: bool = False,
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, channel_options())
        self._stubs = _Stubs(self._channel)
        self._patient = patient

    def search(
        self, question: str, *, limit: int | None = None, at_least_version: int = 0
    ) -> retrieval_pb2.RetrievePassagesResponse:
        """The passages that most likely help to answer a question, best first."""
        request = search_request(question, limit, at_least_version)
        return self._call(self._stubs.retrieval.RetrievePassages, request)

    def ask(
        self,
        question: str,
        *,
        passages: int | None = None,
        answers: int | None = None,
        at_least_version: int = 0,
    ) -> answer_pb2.AnswerQuestionResponse:
        """Answers with their sources, most probable first."""
        request = ask_request(question, passages, answers, at_least_version)
        return self._call(self._stubs.answer.AnswerQuestion, request)

    def ask_many(
        self, questions: Iterable[str], *, passages: int | None = None
    ) -> Iterator[answer_pb2.AnswerQuestionsResponse]:
        """Answers as they are ready; `question_id` is the question's place, from 0."""
        requests = _numbered(questions, passages)
        with _errors(self._address):
            yield from self._stubs.answer.AnswerQuestions(requests, timeout=self._timeout)

    def upsert(
        self, documents: Iterable[DocumentLike], *, request_id: str = ""
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """Writes documents; durable on return. Sent again with the same id it changes nothing."""
        request = upsert_request(documents, request_id)
        return self._call(self._stubs.corpus.UpsertDocuments, request)

    def delete(
        self, document_ids: Iterable[str], *, request_id: str = ""
    ) -> corpus_pb2.DeleteDocumentsResponse:
        """Deletes documents; durable on return."""
        request = delete_request(document_ids, request_id)
        return self._call(self._stubs.corpus.DeleteDocuments, request)

    def get(self, document_id: str) -> corpus_pb2.GetDocumentResponse:
        """A document as it was last written.

        :raises NotFound:
        """
        request = corpus_pb2.GetDocumentRequest(document_id=document_id)
        return self._call(self._stubs.corpus.GetDocument, request)

    def import_documents(
        self, batches: Iterable[Sequence[DocumentLike]], *, timeout: float
    ) -> corpus_pb2.ImportDocumentsResponse:
        """Writes batches of documents over one call; `timeout` is for all of them."""
        requests = (import_request(batch) for batch in batches)
        return self._call(self._stubs.corpus.ImportDocuments, requests, timeout=timeout)

    def status(self) -> index_pb2.IndexStatus:
        """What is live, what is being built, how far the index lags."""
        request = index_pb2.GetIndexStatusRequest()
        response = self._call(self._stubs.index.GetIndexStatus, request)
        status: index_pb2.IndexStatus = response.status
        return status

    def watch(self) -> Iterator[index_pb2.IndexStatus]:
        """The status now and at every change, until the caller stops."""
        with _errors(self._address):
            for response in self._stubs.index.WatchIndex(index_pb2.WatchIndexRequest()):
                yield response.status

    def generations(self, limit: int | None = None) -> list[index_pb2.Generation]:
        """The generations that still exist, newest first."""
        request = index_pb2.ListGenerationsRequest(limit=limit)
        return list(self._call(self._stubs.index.ListGenerations, request).generations)

    def refresh(self, reason: str = "") -> index_pb2.RefreshIndexResponse:
        """Builds a new generation from the newest snapshot."""
        return self._call(
            self._stubs.index.RefreshIndex, index_pb2.RefreshIndexRequest(reason=reason)
        )

    def roll_back(self, reason: str = "") -> index_pb2.RollBackIndexResponse:
        """Makes the retained generation live again and pauses automatic refresh."""
        return self._call(
            self._stubs.index.RollBackIndex, index_pb2.RollBackIndexRequest(reason=reason)
        )

    def pause(self, paused: bool = True, reason: str = "") -> index_pb2.PauseRefreshResponse:
        """Pauses or resumes automatic refresh."""
        request = index_pb2.PauseRefreshRequest(paused=paused, reason=reason)
        return self._call(self._stubs.index.PauseRefresh, request)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        with _errors(self._address):
            return method(request, timeout=timeout or self._timeout, wait_for_ready=self._patient)


class AsyncClient:
    """The same for asyncio; see `Client`."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        patient: bool = False,
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(address, channel_options())
        self._stubs = _Stubs(self._channel)
        self._patient = patient

    async def search(
        self, question: str, *, limit: int | None = None, at_least_version: int = 0
    ) -> retrieval_pb2.RetrievePassagesResponse:
        """See `Client.search`."""
        request = search_request(question, limit, at_least_version)
        return await self._call(self._stubs.retrieval.RetrievePassages, request)

    async def ask(
        self,
        question: str,
        *,
        passages: int | None = None,
        answers: int | None = None,
        at_least_version: int = 0,
    ) -> answer_pb2.AnswerQuestionResponse:
        """See `Client.ask`."""
        request = ask_request(question, passages, answers, at_least_version)
        return await self._call(self._stubs.answer.AnswerQuestion, request)

    async def ask_many(
        self, questions: Iterable[str], *, passages: int | None = None
    ) -> AsyncIterator[answer_pb2.AnswerQuestionsResponse]:
        """See `Client.ask_many`."""
        requests = _numbered(questions, passages)
        with _errors(self._address):
            async for response in self._stubs.answer.AnswerQuestions(
                requests, timeout=self._timeout
            ):
                yield response

    async def upsert(
        self, documents: Iterable[DocumentLike], *, request_id: str = ""
    ) -> corpus_pb2.UpsertDocumentsResponse:
        """See `Client.upsert`."""
        request = upsert_request(documents, request_id)
        return await self._call(self._stubs.corpus.UpsertDocuments, request)

    async def delete(
        self, document_ids: Iterable[str], *, request_id: str = ""
    ) -> corpus_pb2.DeleteDocumentsResponse:
        """See `Client.delete`."""
        request = delete_request(document_ids, request_id)
        return await self._call(self._stubs.corpus.DeleteDocuments, request)

    async def get(self, document_id: str) -> corpus_pb2.GetDocumentResponse:
        """See `Client.get`."""
        request = corpus_pb2.GetDocumentRequest(document_id=document_id)
        return await self._call(self._stubs.corpus.GetDocument, request)

    async def status(self) -> index_pb2.IndexStatus:
        """See `Client.status`."""
        request = index_pb2.GetIndexStatusRequest()
        response = await self._call(self._stubs.index.GetIndexStatus, request)
        status: index_pb2.IndexStatus = response.status
        return status

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Any], request: Any) -> Any:
        with _errors(self._address):
            return await method(request, timeout=self._timeout, wait_for_ready=self._patient)


class _Stubs:
    """The four services on one channel, blocking or not."""

    def __init__(self, channel: Any) -> None:
        self.retrieval: Any = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        self.answer: Any = answer_pb2_grpc.AnswerServiceStub(channel)
        self.corpus: Any = corpus_pb2_grpc.CorpusServiceStub(channel)
        self.index: Any = index_pb2_grpc.IndexServiceStub(channel)


def search_request(
    question: str, limit: int | None, at_least_version: int
) -> retrieval_pb2.RetrievePassagesRequest:
    return retrieval_pb2.RetrievePassagesRequest(
        question=question, limit=limit, at_least_version=at_least_version
    )


def ask_request(
    question: str, passages: int | None, answers: int | None, at_least_version: int = 0
) -> answer_pb2.AnswerQuestionRequest:
    return answer_pb2.AnswerQuestionRequest(
        question=question, passages=passages, answers=answers, at_least_version=at_least_version
    )


def upsert_request(
    documents: Iterable[DocumentLike], request_id: str
) -> corpus_pb2.UpsertDocumentsRequest:
    return corpus_pb2.UpsertDocumentsRequest(
        request_id=request_id or _new_id(), documents=map(_document, documents)
    )


def delete_request(
    document_ids: Iterable[str], request_id: str
) -> corpus_pb2.DeleteDocumentsRequest:
    return corpus_pb2.DeleteDocumentsRequest(
        request_id=request_id or _new_id(), document_ids=document_ids
    )


def import_request(documents: Iterable[DocumentLike]) -> corpus_pb2.ImportDocumentsRequest:
    return corpus_pb2.ImportDocumentsRequest(
        request_id=_new_id(), documents=map(_document, documents)
    )


def _numbered(
    questions: Iterable[str], passages: int | None
) -> Iterator[answer_pb2.AnswerQuestionsRequest]:
    for number, question in enumerate(questions):
        yield answer_pb2.AnswerQuestionsRequest(
            question_id=str(number), question=ask_request(question, passages, None)
        )


def _document(given: DocumentLike) -> Document:
    return given if isinstance(given, Document) else Document(**given)


def _new_id() -> str:
    """Every write carries one, so that a retry is safe."""
    return uuid.uuid4().hex


@contextmanager
def _errors(address: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, f"the gateway at {address}") from error
