"""What both clients share: requests, limits, stubs, and what a stream of answers means."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
    types_pb2,
)

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_SECONDS = 30.0
#: Answers to many questions may take long; the call still ends.
STREAM_SECONDS = 3600.0
#: How long an import that has begun waits for a service that went away.
IMPORT_PATIENCE_SECONDS = 60.0
RETRY_PAUSE_SECONDS = 0.5

#: A batch of an import: small enough for any limit, large enough to make commits rare.
BATCH_DOCUMENTS = 200
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one of many questions, or why there is none; `number` counts from 0."""

    number: int
    question: str
    answer: answer_pb2.AnswerQuestionResponse | None
    error: str = ""


class Stubs:
    """The services of one channel, sync or aio."""

    def __init__(self, channel: Any) -> None:
        self.retrieval = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        self.answers = answer_pb2_grpc.AnswerServiceStub(channel)
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(channel)
        self.index = index_pb2_grpc.IndexServiceStub(channel)


def document(
    document_id: str, text: str, *, title: str = "", metadata: Mapping[str, str] | None = None
) -> types_pb2.Document:
    return types_pb2.Document(id=document_id, title=title, text=text, metadata=metadata or {})


def search_request(
    question: str, limit: int, at_least_version: int, retrieval: str = ""
) -> retrieval_pb2.RetrievePassagesRequest:
    return retrieval_pb2.RetrievePassagesRequest(
        question=question,
        limit=limit,
        at_least_version=at_least_version,
        retrieval=_retrieval(retrieval),
    )


def ask_request(
    question: str, passages: int, answers: int, at_least_version: int = 0, retrieval: str = ""
) -> answer_pb2.AnswerQuestionRequest:
    return answer_pb2.AnswerQuestionRequest(
        question=question,
        passages=passages,
        answers=answers,
        at_least_version=at_least_version,
        retrieval=_retrieval(retrieval),
    )


def _retrieval(name: str) -> str:
    """The name in the API.

    :raises InvalidInput: if the name is neither empty nor a way of retrieval."""
    if name and name not in set(Retrieval):
        raise InvalidInput(
            f"there is no retrieval {name!r}: give {', '.join(Retrieval)}", field="retrieval"
        )
    return f"RETRIEVAL_{name.upper() or 'UNSPECIFIED'}"


def upsert_request(
    documents: Iterable[types_pb2.Document], request_id: str = ""
) -> corpus_pb2.UpsertDocumentsRequest:
    return corpus_pb2.UpsertDocumentsRequest(
        request_id=request_id or new_request_id(), documents=documents
    )


def delete_request(
    document_ids: Iterable[str], request_id: str = ""
) -> corpus_pb2.DeleteDocumentsRequest:
    return corpus_pb2.DeleteDocumentsRequest(
        request_id=request_id or new_request_id(), document_ids=document_ids
    )


def new_request_id() -> str:
    return str(uuid.uuid4())


def batches(documents: Iterable[types_pb2.Document]) -> Iterator[corpus_pb2.UpsertDocumentsRequest]:
    """Requests of bounded count and size, each with a request id of its own."""
    batch: list[types_pb2.Document] = []
    size = 0
    for each in documents:
        more = each.ByteSize()
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + more > BATCH_BYTES):
            yield upsert_request(batch)
            batch, size = [], 0
        batch.append(each)
        size += more
    if batch:
        yield upsert_request(batch)


class Questions:
    """Questions as requests, numbered; remembers which number is which until it is answered."""

    def __init__(
        self, questions: Iterable[str], passages: int, answers: int, retrieval: str = ""
    ) -> None:
        self._questions = questions
        self._passages = passages
        self._answers = answers
        self._retrieval = retrieval
        self._open: dict[int, str] = {}

    def __iter__(self) -> Iterator[answer_pb2.AnswerQuestionsRequest]:
        for number, question in enumerate(self._questions):
            self._open[number] = question
            request = ask_request(
                question, self._passages, self._answers, retrieval=self._retrieval
            )
            yield answer_pb2.AnswerQuestionsRequest(question_id=str(number), question=request)

    def closed(self, number: int) -> str:
        return self._open.pop(number)


def answer_of(asked: Questions, response: answer_pb2.AnswerQuestionsResponse) -> Reply:
    number = int(response.question_id)
    question = asked.closed(number)
    if response.HasField("answer"):
        return Reply(number, question, response.answer)
    return Reply(number, question, None, response.error)
