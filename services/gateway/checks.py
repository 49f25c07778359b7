"""What a request must satisfy before any work is done for it."""

from __future__ import annotations

from collections.abc import Sequence

from realm.corpus.documents import Document, check_document, one_form
from realm.corpus.plain_text import without_mark
from realm.errors import InvalidInput
from realm.retrieval import Retrieval
from realm.v1 import types_pb2

MAX_QUESTION_CHARACTERS = 10_000
MAX_WRITES = 1_000

MAX_PASSAGES_FOUND = 100
MAX_PASSAGES_READ = 20
MAX_ANSWERS = 10
MAX_GENERATIONS = 1_000

_RETRIEVALS = {
    types_pb2.RETRIEVAL_UNSPECIFIED: None,
    types_pb2.RETRIEVAL_DENSE: Retrieval.DENSE,
    types_pb2.RETRIEVAL_BM25: Retrieval.BM25,
    types_pb2.RETRIEVAL_HYBRID: Retrieval.HYBRID,
}


def check_question(question: str) -> str:
    """:raises InvalidInput: if the question is empty or longer than any question."""
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
    """:raises InvalidInput: unless 1 ≤ value ≤ most."""
    if not 1 <= value <= most:
        raise InvalidInput(f"{field} is {value}: give 1 to {most}", field=field)
    return value


def check_retrieval(way: types_pb2.Retrieval) -> Retrieval | None:
    """None where the request leaves it to the gateway.

    :raises InvalidInput: for a number that this gateway does not know.
    """
    if way not in _RETRIEVALS:
        raise InvalidInput(
            f"retrieval is {way}: give {', '.join(types_pb2.Retrieval.keys())}", field="retrieval"
        )
    return _RETRIEVALS[way]


def check_documents(documents: Sequence[types_pb2.Document], max_bytes: int) -> None:
    """Gives each id its one form, takes byte order marks off texts, and checks the rest.

    :raises InvalidInput: naming the first unusable document and its field.
    """
    _check_size("documents", len(documents))
    for place, document in enumerate(documents):
        document.id = one_form(document.id)
        document.text = without_mark(document.text)
        try:
            check_document(
                Document(document.id, document.title, document.text, dict(document.metadata)),
                max_bytes=max_bytes,
            )
        except InvalidInput as error:
            field = f"documents[{place}].{error.details.get('field', '')}".rstrip(".")
            raise InvalidInput(error.message, **{**error.details, "field": field}) from error


def check_document_ids(ids: Sequence[str]) -> None:
    """:raises InvalidInput: if there are none, too many, or an empty one."""
    _check_size("document_ids", len(ids))
    for place, document_id in enumerate(ids):
        check_document_id(document_id, f"document_ids[{place}]")


def check_document_id(document_id: str, field: str = "document_id") -> None:
    if not document_id.strip():
        raise InvalidInput(f"{field} is empty: give the document's id", field=field)


def _check_size(field: str, count: int) -> None:
    if not 1 <= count <= MAX_WRITES:
        raise InvalidInput(
            f"{field} holds {count} entries: give 1 to {MAX_WRITES:,} in one request", field=field
        )
