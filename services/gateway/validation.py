"""Checks of requests, before any work is done for them."""

from __future__ import annotations

from realm.corpus.documents import Document, check_upsert, normalise_id
from realm.corpus.plain_text import without_mark
from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import corpus_pb2, types_pb2

MAX_QUESTION_CHARACTERS = 10_000
MAX_PASSAGES_FOUND = 100
MAX_PASSAGES_READ = 20
MAX_ANSWERS = 10
MAX_GENERATIONS = 1_000

_RETRIEVALS = {
    types_pb2.RETRIEVAL_UNSPECIFIED: None,
    types_pb2.RETRIEVAL_DENSE: Retrieval.DENSE,
    types_pb2.RETRIEVAL_BM25: Retrieval.BM25,
    types_pb2.RETRIEVAL_HYBRID: Retrieval.HYBRID,
    types_pb2.RETRIEVAL_RANK_FUSION: Retrieval.RANK_FUSION,
}


def check_question(question: str) -> str:
    if not question.strip():
        raise InvalidInput("the question is empty: give at least one word", field="question")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInput(
            f"the question has {len(question)} characters, the limit is"
            f" {MAX_QUESTION_CHARACTERS}: ask in fewer words",
            field="question",
        )
    return question


def check_count(field: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidInput(f"{field} is {value}: give 1 to {most}", field=field)
    return value


def check_retrieval(way: types_pb2.Retrieval) -> Retrieval | None:
    """None where the request leaves it to the gateway."""
    if way not in _RETRIEVALS:
        raise InvalidInput(
            f"retrieval is {way}: give {', '.join(types_pb2.Retrieval.keys())}", field="retrieval"
        )
    return _RETRIEVALS[way]


def normalise_upsert(request: corpus_pb2.UpsertDocumentsRequest, max_bytes: int) -> None:
    """Normalises ids, removes byte order marks from texts, and checks the whole write.

    :param max_bytes: the longest text of a document.
    """
    for document in request.documents:
        document.id = normalise_id(document.id)
        document.text = without_mark(document.text)
    documents = [
        Document(each.id, each.title, each.text, dict(each.metadata)) for each in request.documents
    ]
    check_upsert(request.request_id, documents, max_bytes=max_bytes)
