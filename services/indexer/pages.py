"""Page tokens: where a listing goes on."""

from __future__ import annotations

import base64
import hashlib
import json

from realm.corpus.listing import START, Place
from realm.errors import InvalidInput
from realm.v1.types_pb2 import Filter

LARGEST = 2**63 - 1


def page_token(end: Place, given: Filter | None) -> str:
    """:param given: the listing's filter, of which all its pages are."""
    told = json.dumps([end.bucket, end.document_id, _digest(given)])
    return base64.urlsafe_b64encode(told.encode()).decode()


def read_page_token(token: str, given: Filter | None) -> Place:
    """:raises InvalidInput: if it is of another listing, or none at all."""
    if not token:
        return START
    try:
        bucket, document_id, digest = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        place = Place(int(bucket), str(document_id))
    except (ValueError, TypeError, OverflowError) as error:
        raise _refused("is none that a listing gave") from error
    if digest != _digest(given):
        raise _refused("is of a listing with another filter: give the same filter for all pages")
    return place


def read_generation_token(token: str) -> int:
    """The generation before which a listing goes on.

    :raises InvalidInput: if it is no such token.
    """
    if not token:
        return LARGEST
    if not (token.isascii() and token.isdecimal() and len(token) < 20):
        raise _refused("is none that a listing gave")
    return int(token)


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"page_token {why}; without one the first page comes", field="page_token")


def _digest(given: Filter | None) -> str:
    if given is None:
        return ""
    return hashlib.blake2b(given.SerializeToString(deterministic=True), digest_size=8).hexdigest()
