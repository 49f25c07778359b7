"""Requests made of checked arguments, and the limits of calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from realm.client import arguments
from realm.client.wire import MESSAGE_BYTES
from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import (
    answer_pb2,
    corpus_pb2,
    types_pb2,
)

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_SECONDS = 30.0
#: Answers to many questions may take long, but the call ends.
STREAM_SECONDS = 3600.0
#: How long an import that has begun retries while the service is away.
IMPORT_RETRY_SECONDS = 60.0
RETRY_PAUSE_SECONDS = 0.5

#: A batch of an import: small enough for any limit, large enough to make commits rare.
BATCH_DOCUMENTS = 200
BATCH_BYTES = 4 << 20


def document(
    document_id: str,
    text: str,
    *,
    title: str = "",
    metadata: Mapping[str, str] | None = None,
    answer: str = "",
) -> types_pb2.Document:
    """:param answer: what answers the question that `text` is, as in a FAQ.
    :raises InvalidInput: naming what is no text."""
    return types_pb2.Document(
        id=arguments.text("document_id", document_id),
        title=arguments.text("title", title),
        text=arguments.text("text", text),
        metadata={} if metadata is None else arguments.text_map("metadata", metadata),
        answer=arguments.text("answer", answer),
    )


def ask_request(
    question: str, passages: int, answers: int, at_least_version: int, retrieval: str
) -> answer_pb2.AnswerQuestionRequest:
    return answer_pb2.AnswerQuestionRequest(
        question=arguments.text("question", question),
        passages=arguments.count("passages", passages),
        answers=arguments.count("answers", answers),
        at_least_version=arguments.uint64("at_least_version", at_least_version),
        retrieval=retrieval_name(retrieval),
    )


def retrieval_name(name: str) -> str:
    """A retrieval's name in the API; empty leaves it to the gateway."""
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
        request_id=arguments.request_id(request_id), documents=_documents(documents)
    )
    if request.ByteSize() > MESSAGE_BYTES:
        raise InvalidInput(
            f"the documents together have {request.ByteSize():,} bytes, a call takes "
            f"{MESSAGE_BYTES:,}: give them in several, or to import_documents()",
            field="documents",
        )
    return request


def _documents(given: Iterable[types_pb2.Document]) -> Iterator[types_pb2.Document]:
    return arguments.each_of("documents", types_pb2.Document, "realm.client.document()", given)


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
