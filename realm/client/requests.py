"""Requests made of checked arguments, and the limits of calls."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TypedDict

from realm.client import arguments
from realm.client.wire import MESSAGE_BYTES
from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import (
    answer_pb2,
    corpus_pb2,
    index_pb2,
    retrieval_pb2,
    types_pb2,
)
from realm.v1.types_pb2 import Filter

#: Which documents: a condition or several, as `realm.filters.where` takes them; None: all.
Where = str | Filter | Iterable[str | Filter] | None


class SearchOptions(TypedDict, total=False):
    """Of `search` and `search_many`, beside the question."""

    #: How many passages: 1 to 100, 5 when absent.
    limit: int
    #: The corpus version that must be searched.
    at_least_version: int
    #: hybrid, dense, bm25 or rank_fusion; the gateway's own setting when absent.
    retrieval: str
    #: So many of the best, 20 at the most, are read and ranked by what is found in them as well.
    rerank: int
    #: Passages of a smaller score are left out; perhaps none is left.
    least_score: float | None
    #: Only passages of documents for which this holds: `"lang=de"`, `["lang=de", "year>=2020"]`.
    where: Where
    #: The fields of the response to send, such as `passages.passage.document_id`; all when absent.
    fields: Iterable[str]
    #: Searches even if the same was asked before of the same index.
    no_cache: bool
    #: Searches this generation, which is live or retained, in place of what is live.
    generation: int


class AskOptions(TypedDict, total=False):
    """Of `ask` and `ask_many`, beside the question."""

    #: How many passages to read: 1 to 20, 5 when absent.
    passages: int
    #: How many answers to give: 1 to 10, 1 when absent.
    answers: int
    #: As of `SearchOptions`, all of them; a field is, for example, `answers.text`.
    at_least_version: int
    retrieval: str
    where: Where
    fields: Iterable[str]
    no_cache: bool
    generation: int


DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_SECONDS = 30.0
#: Answers to many questions may take long, but the call ends.
STREAM_SECONDS = 3600.0

#: A page of a listing: with texts it must fit into a message.
PAGE_DOCUMENTS, PAGE_DOCUMENTS_WITH_TEXT = 1_000, 50

#: A batch of an import: small enough for any limit, and as many as one write may have: to commit
#: costs more than what is committed.
BATCH_DOCUMENTS = 1_000
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
    question: str,
    *,
    passages: int = 5,
    answers: int = 1,
    at_least_version: int = 0,
    retrieval: str = "",
    where: Where = None,
    fields: Iterable[str] = (),
    no_cache: bool = False,
    generation: int = 0,
) -> answer_pb2.AnswerQuestionRequest:
    """:param fields: of the response, such as `answers.text`; all when empty."""
    return answer_pb2.AnswerQuestionRequest(
        question=arguments.text("question", question),
        passages=arguments.count("passages", passages),
        answers=arguments.count("answers", answers),
        at_least_version=arguments.uint64("at_least_version", at_least_version),
        retrieval=retrieval_name(retrieval),
        filter=arguments.where(where),
        read_mask=arguments.mask(fields),
        no_cache=arguments.flag("no_cache", no_cache),
        generation=arguments.uint64("generation", generation),
    )


def search_request(
    question: str,
    *,
    limit: int = 5,
    at_least_version: int = 0,
    retrieval: str = "",
    rerank: int = 0,
    least_score: float | None = None,
    where: Where = None,
    fields: Iterable[str] = (),
    no_cache: bool = False,
    generation: int = 0,
) -> retrieval_pb2.RetrievePassagesRequest:
    """:param fields: of the response, such as `passages.passage.document_id`; all when empty."""
    return retrieval_pb2.RetrievePassagesRequest(
        question=arguments.text("question", question),
        limit=arguments.count("limit", limit),
        at_least_version=arguments.uint64("at_least_version", at_least_version),
        retrieval=retrieval_name(retrieval),
        rerank=arguments.integer("rerank", rerank, arguments.UINT32) or None,
        least_score=arguments.number("least_score", least_score),
        filter=arguments.where(where),
        read_mask=arguments.mask(fields),
        no_cache=arguments.flag("no_cache", no_cache),
        generation=arguments.uint64("generation", generation),
    )


def delete_request(
    document_ids: Iterable[str], request_id: str, where: Where
) -> corpus_pb2.DeleteDocumentsRequest:
    return corpus_pb2.DeleteDocumentsRequest(
        request_id=arguments.request_id(request_id),
        document_ids=arguments.texts("document_ids", document_ids),
        filter=arguments.where(where),
    )


def list_request(where: Where, with_text: bool) -> corpus_pb2.ListDocumentsRequest:
    return corpus_pb2.ListDocumentsRequest(
        filter=arguments.where(where),
        with_text=arguments.flag("with_text", with_text),
        page_size=PAGE_DOCUMENTS_WITH_TEXT if with_text else PAGE_DOCUMENTS,
    )


def refresh_request(
    reason: str, generation: int | None, force: bool, by: str
) -> index_pb2.RefreshIndexRequest:
    return index_pb2.RefreshIndexRequest(
        reason=arguments.text("reason", reason),
        generation=None if generation is None else arguments.uint64("generation", generation),
        force=arguments.flag("force", force),
        by=arguments.text("by", by),
    )


def roll_back_request(reason: str, request_id: str) -> index_pb2.RollBackIndexRequest:
    return index_pb2.RollBackIndexRequest(
        reason=arguments.text("reason", reason), request_id=arguments.request_id(request_id)
    )


def pause_request(paused: bool, reason: str) -> index_pb2.PauseRefreshRequest:
    return index_pb2.PauseRefreshRequest(
        paused=arguments.flag("paused", paused), reason=arguments.text("reason", reason)
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
        request_id=arguments.request_id(request_id), documents=checked_documents(documents)
    )
    if request.ByteSize() > MESSAGE_BYTES:
        raise InvalidInput(
            f"the documents together have {request.ByteSize():,} bytes, a call takes "
            f"{MESSAGE_BYTES:,}: give them in several, or to import_documents()",
            field="documents",
        )
    return request


def checked_documents(given: Iterable[types_pb2.Document]) -> Iterator[types_pb2.Document]:
    return arguments.each_of("documents", types_pb2.Document, "realm.client.document()", given)


class Batches:
    """Requests of bounded count and size, each with a request id of its own."""

    def __init__(self) -> None:
        self._documents: list[types_pb2.Document] = []
        self._size = 0

    def add(self, document: types_pb2.Document) -> corpus_pb2.UpsertDocumentsRequest | None:
        """The batch that is full, if the document fits into it no more."""
        more = document.ByteSize()
        full = len(self._documents) >= BATCH_DOCUMENTS or self._size + more > BATCH_BYTES
        made = self.rest() if full else None
        self._documents.append(document)
        self._size += more
        return made

    def rest(self) -> corpus_pb2.UpsertDocumentsRequest | None:
        """The last batch; None if nothing is left."""
        documents, self._documents, self._size = self._documents, [], 0
        return upsert_request(documents) if documents else None


def batch_name(name: str, after: int, batch: corpus_pb2.UpsertDocumentsRequest) -> str:
    """The request id of a batch of an import: by its place in it and its content."""
    digest = hashlib.sha256()
    for each in batch.documents:
        digest.update(each.SerializeToString(deterministic=True))
    return f"{name}-{after}-{digest.hexdigest()[:16]}"


def batches(documents: Iterable[types_pb2.Document]) -> Iterator[corpus_pb2.UpsertDocumentsRequest]:
    """As `Batches`."""
    made = Batches()
    for each in checked_documents(documents):
        if (batch := made.add(each)) is not None:
            yield batch
    if (batch := made.rest()) is not None:
        yield batch


async def async_batches(
    documents: AsyncIterable[types_pb2.Document],
) -> AsyncIterator[corpus_pb2.UpsertDocumentsRequest]:
    """As `Batches`."""
    made = Batches()
    async for each in documents:
        for checked in checked_documents([each]):
            if (batch := made.add(checked)) is not None:
                yield batch
    if (batch := made.rest()) is not None:
        yield batch
