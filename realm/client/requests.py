"""What both clients share: requests, made of arguments that are checked, limits and stubs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from realm.client import arguments as arguments
from realm.client.questions import Questions
from realm.client.wire import MESSAGE_BYTES
from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2,
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
    """:raises InvalidInput: naming what is no text."""
    return types_pb2.Document(
        id=arguments.text("document_id", document_id),
        title=arguments.text("title", title),
        text=arguments.text("text", text),
        metadata={} if metadata is None else arguments.text_map("metadata", metadata),
    )


def search_request(
    question: str, limit: int, at_least_version: int, retrieval: str
) -> retrieval_pb2.RetrievePassagesRequest:
    return retrieval_pb2.RetrievePassagesRequest(
        question=arguments.text("question", question),
        limit=_count("limit", limit),
        at_least_version=_version(at_least_version),
        retrieval=_retrieval(retrieval),
    )


def ask_request(
    question: str, passages: int, answers: int, at_least_version: int, retrieval: str
) -> answer_pb2.AnswerQuestionRequest:
    return answer_pb2.AnswerQuestionRequest(
        question=arguments.text("question", question),
        passages=_count("passages", passages),
        answers=_count("answers", answers),
        at_least_version=_version(at_least_version),
        retrieval=_retrieval(retrieval),
    )


def questions_asked(
    given: Iterable[str],
    passages: int,
    answers: int,
    at_least_version: int,
    retrieval: str,
    timeout: float | None,
) -> Questions:
    shared = ask_request("", passages, answers, at_least_version, retrieval)

    def ask(question: str) -> answer_pb2.AnswerQuestionRequest:
        request = answer_pb2.AnswerQuestionRequest()
        request.CopyFrom(shared)
        request.question = question
        return request

    return Questions(arguments.texts("questions", given), ask, time.monotonic, seconds(timeout))


def seconds(timeout: float | None) -> float | None:
    """None: no deadline."""
    return arguments.seconds("timeout", timeout)


def _count(name: str, value: int) -> int:
    return arguments.whole(name, value, arguments.UINT32, least=1)


def _version(value: int) -> int:
    return arguments.whole("at_least_version", value, arguments.UINT64)


def _retrieval(name: str) -> str:
    """The name in the API.

    :raises InvalidInput: if the name is neither empty nor a way of retrieval."""
    if arguments.text("retrieval", name) and name not in set(Retrieval):
        raise InvalidInput(
            f"there is no retrieval {name!r}: give {', '.join(Retrieval)}", field="retrieval"
        )
    return f"RETRIEVAL_{name.upper() or 'UNSPECIFIED'}"


def upsert_request(
    documents: Iterable[types_pb2.Document], request_id: str = ""
) -> corpus_pb2.UpsertDocumentsRequest:
    """:raises InvalidInput: if the documents together are more than a message holds."""
    request = corpus_pb2.UpsertDocumentsRequest(
        request_id=_request_id(request_id), documents=_documents(documents)
    )
    if request.ByteSize() > MESSAGE_BYTES:
        raise InvalidInput(
            f"the documents together have {request.ByteSize():,} bytes, a call takes "
            f"{MESSAGE_BYTES:,}: give them in several, or to import_documents()",
            field="documents",
        )
    return request


def delete_request(
    document_ids: Iterable[str], request_id: str = ""
) -> corpus_pb2.DeleteDocumentsRequest:
    return corpus_pb2.DeleteDocumentsRequest(
        request_id=_request_id(request_id),
        document_ids=arguments.texts("document_ids", document_ids),
    )


def get_request(document_id: str) -> corpus_pb2.GetDocumentRequest:
    return corpus_pb2.GetDocumentRequest(document_id=arguments.text("document_id", document_id))


def generations_request(limit: int) -> index_pb2.ListGenerationsRequest:
    return index_pb2.ListGenerationsRequest(limit=_count("limit", limit))


def refresh_request(
    reason: str, generation: int | None, force: bool, by: str
) -> index_pb2.RefreshIndexRequest:
    return index_pb2.RefreshIndexRequest(
        reason=arguments.text("reason", reason),
        generation=None
        if generation is None
        else arguments.whole("generation", generation, arguments.UINT64),
        force=arguments.flag("force", force),
        by=arguments.text("by", by),
    )


def roll_back_request(reason: str) -> index_pb2.RollBackIndexRequest:
    return index_pb2.RollBackIndexRequest(reason=arguments.text("reason", reason))


def pause_request(paused: bool, reason: str) -> index_pb2.PauseRefreshRequest:
    return index_pb2.PauseRefreshRequest(
        paused=arguments.flag("paused", paused), reason=arguments.text("reason", reason)
    )


def _request_id(given: str) -> str:
    return arguments.text("request_id", given) or new_request_id()


def _documents(given: Iterable[types_pb2.Document]) -> Iterator[types_pb2.Document]:
    return arguments.each_of("documents", types_pb2.Document, "realm.client.document()", given)


def new_request_id() -> str:
    return str(uuid.uuid4())


def batches(documents: Iterable[types_pb2.Document]) -> Iterator[corpus_pb2.UpsertDocumentsRequest]:
    """Requests of bounded count and size, each with a request id of its own."""
    batch: list[types_pb2.Document] = []
    size = 0
    for each in _documents(documents):
        more = each.ByteSize()
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + more > BATCH_BYTES):
            yield upsert_request(batch)
            batch, size = [], 0
        batch.append(each)
        size += more
    if batch:
        yield upsert_request(batch)
