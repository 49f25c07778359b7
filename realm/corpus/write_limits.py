"""Limits of one write: checked by the gateway, and again by the leader that commits it."""

from __future__ import annotations

from collections.abc import Sequence

from realm.corpus.documents import MAX_ID_BYTES, Document, check_document
from realm.errors import InvalidInput

MAX_WRITES = 1_000
MAX_REQUEST_ID_BYTES = 128


def check_upsert(request_id: str, documents: Sequence[Document], *, max_bytes: int) -> None:
    """:param max_bytes: the longest text of a document, in bytes of UTF-8.
    :raises InvalidInput: naming the first unusable field, such as `documents[3].title`.
    """
    _check_request("documents", len(documents), request_id)
    for place, document in enumerate(documents):
        try:
            check_document(document, max_bytes=max_bytes)
        except InvalidInput as error:
            field = f"documents[{place}].{error.details.get('field', '')}".rstrip(".")
            raise InvalidInput(error.message, **{**error.details, "field": field}) from error


def check_deletion(request_id: str, document_ids: Sequence[str]) -> None:
    """:raises InvalidInput: naming the first unusable field, such as `document_ids[3]`."""
    _check_request("document_ids", len(document_ids), request_id)
    for place, document_id in enumerate(document_ids):
        check_document_id(document_id, f"document_ids[{place}]")


def check_document_id(document_id: str, field: str = "document_id") -> None:
    """Checks an id to read or delete, which may be from before today's rules for new ids."""
    size = len(document_id.encode())
    if not document_id.strip() or size > MAX_ID_BYTES:
        raise InvalidInput(f"{field} has {size} bytes: give 1 to {MAX_ID_BYTES}", field=field)


def _check_request(field: str, count: int, request_id: str) -> None:
    size = len(request_id.encode())
    if size > MAX_REQUEST_ID_BYTES:
        raise InvalidInput(
            f"request_id has {size} bytes, the limit is {MAX_REQUEST_ID_BYTES}", field="request_id"
        )
    if not 1 <= count <= MAX_WRITES:
        raise InvalidInput(
            f"{field} holds {count} entries: give 1 to {MAX_WRITES:,} in one request", field=field
        )
