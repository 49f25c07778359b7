"""The document that a user gives: its record, its validation, and every stable hash of its id."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from realm.errors import InvalidInput

MAX_ID_BYTES = 512
# Title, metadata and answer are repeated in the payload of every passage, so they must stay small.
MAX_TITLE_BYTES = 2_048
MAX_METADATA_BYTES = 16_384
MAX_ANSWER_BYTES = 16_384

HELD_OUT_SHARE = 10  # one document in so many

# What Unicode shows as nothing though its categories do not say so: fillers, selectors, a blank.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8]"
)
_BLANK_ABOVE = range(0xE0000, 0xE1000)
_NOT_SHOWN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"])
# Controls, and what breaks logs and file names just as they do: surrogates, line separators. The
# categories Cc, Cs, Zl and Zp, which Unicode never changes.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")

_PASSAGE_NAMESPACE = uuid.UUID("6f1f3d0e-5b0a-5f0b-9d3c-7a2e4c1b8d90")
_SHOWN = 80
MAX_WRITES = 1_000
MAX_REQUEST_ID_BYTES = 128


@dataclass(frozen=True, slots=True)
class Document:
    """What a user gives; the id names it for ever.

    `answer` answers the question that `text` is, as in a FAQ; empty: the text is read.
    """

    id: str
    title: str
    text: str
    metadata: dict[str, str] = field(default_factory=dict)
    answer: str = ""


def check_document(document: Document, *, max_bytes: int) -> Document:
    """Returns the document unchanged if it can be stored and indexed.

    :param max_bytes: the longest text, in bytes of UTF-8.
    :raises InvalidInput: otherwise; `details["field"]` names the offending field.
    """
    _check_id(document.id)
    _check_characters("title", document.title, document.id)
    _check_characters("text", document.text, document.id)
    _check_characters("answer", document.answer, document.id)
    _check_metadata(document)
    if document.answer and not is_visible(document.answer):
        why = f"document {shown(document.id)} has an answer without a character that shows"
        raise _invalid(why, "answer", document.id)
    if not is_visible(document.text):
        why = f"document {shown(document.id)} has no text: give at least one word"
        raise _invalid(why, "text", document.id)
    _check_size("text", document.text, max_bytes, document.id)
    _check_size("title", document.title, MAX_TITLE_BYTES, document.id)
    _check_size("answer", document.answer, MAX_ANSWER_BYTES, document.id)
    return document


def is_visible(text: str) -> bool:
    """Whether any character of it shows: no white space, zero width, mark or control."""
    return any(
        unicodedata.category(char) not in _NOT_SHOWN
        and not _BLANK.match(char)
        and ord(char) not in _BLANK_ABOVE
        for char in text
    )


def normalise_id(document_id: str) -> str:
    """The id in the one form (NFC) that names a document, however its letters were typed."""
    return unicodedata.normalize("NFC", document_id)


def stable_bucket(document_id: str, buckets: int) -> int:
    """The shard, in [0, buckets), that holds the document: the same in every process, for ever.

    :raises InvalidInput: if `buckets` is not positive.
    """
    if buckets < 1:
        raise InvalidInput(f"{buckets} buckets cannot hold documents: give 1 or more")
    return _hash(document_id, b"realm.bucket") % buckets


def is_held_out(document_id: str) -> bool:
    """Whether the document is in the 10% that no objective trains on, kept for probe questions.

    Independent of `stable_bucket`: each shard has its own tenth.
    """
    return _hash(document_id, b"realm.heldout") % HELD_OUT_SHARE == 0


def passage_id(document_id: str, ordinal: int) -> str:
    """UUIDv5 of document id and ordinal, so that writing twice is writing once."""
    # The ordinal comes first: digits up to the first colon, whatever the document id contains.
    return str(uuid.uuid5(_PASSAGE_NAMESPACE, f"{ordinal}:{document_id}"))


def shown(document_id: str) -> str:
    """The id as an error message shows it: quoted, escaped, cut."""
    cut = document_id if len(document_id) <= _SHOWN else document_id[:_SHOWN] + "…"
    return ascii(cut) if _has_control(cut) else f"'{cut}'"


def _hash(document_id: str, person: bytes) -> int:
    digest = hashlib.blake2b(document_id.encode(), digest_size=8, person=person).digest()
    return int.from_bytes(digest, "big")


def _invalid(message: str, field: str, document_id: str) -> InvalidInput:
    return InvalidInput(message, field=field, document_id=document_id)


def _check_id(document_id: object) -> None:
    if not isinstance(document_id, str):
        kind = type(document_id).__name__
        raise InvalidInput(f"a document's id must be text, not {kind}", field="id")
    if not is_visible(document_id):
        raise InvalidInput("the document's id is empty: give it a name of its own", field="id")
    if _has_control(document_id):
        why = f"the document id {shown(document_id)} contains a control character: remove it"
        raise InvalidInput(why, field="id")
    _check_size("id", document_id, MAX_ID_BYTES, document_id)


def _check_metadata(document: Document) -> None:
    if not isinstance(document.metadata, dict):
        why = f"metadata of document {shown(document.id)} must be an object of text values"
        raise _invalid(why, "metadata", document.id)
    total = 0
    for key, value in document.metadata.items():
        _check_characters("metadata", key, document.id)
        _check_characters("metadata", value, document.id)
        total += len(key.encode()) + len(value.encode())
    if total > MAX_METADATA_BYTES:
        why = f"metadata of document {shown(document.id)} takes {total} bytes"
        raise _invalid(f"{why}, the limit is {MAX_METADATA_BYTES}", "metadata", document.id)


def _check_characters(field: str, value: object, document_id: str) -> None:
    if why := _unusable(value):
        raise _invalid(f"{field} of document {shown(document_id)} {why}", field, document_id)


def _unusable(value: object) -> str:
    """Why it is no text that can be stored; empty if it is."""
    if not isinstance(value, str):
        return f"must be text, not {type(value).__name__}"
    if (nul := value.find("\0")) >= 0:
        return f"has a NUL character at {nul}: remove it"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"has half a surrogate pair at {error.start}: it is not Unicode text, encode it anew"
    return ""


def _check_size(field: str, value: str, limit: int, document_id: str) -> None:
    size = len(value.encode())
    if size > limit:
        advice = "shorten it" + (", or give it as several documents" if field == "text" else "")
        why = f"{field} of document {shown(document_id)} has {size} bytes, the limit is {limit}"
        raise _invalid(f"{why}: {advice}", field, document_id)


def _has_control(text: str) -> bool:
    return _CONTROL.search(text) is not None


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


def check_request_id(request_id: str) -> None:
    """:raises InvalidInput: if it is too long."""
    size = len(request_id.encode())
    if size > MAX_REQUEST_ID_BYTES:
        raise InvalidInput(
            f"request_id has {size} bytes, the limit is {MAX_REQUEST_ID_BYTES}", field="request_id"
        )


def _check_request(field: str, count: int, request_id: str) -> None:
    check_request_id(request_id)
    if not 1 <= count <= MAX_WRITES:
        raise InvalidInput(
            f"{field} holds {count} entries: give 1 to {MAX_WRITES:,} in one request", field=field
        )
