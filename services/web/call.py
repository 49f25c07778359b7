"""What an HTTP request says beside its body: whose it is, which, and how long it may take."""

from __future__ import annotations

import math
import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers

from realm.errors import InvalidInput, Unauthenticated

REQUEST_ID = "x-request-id"
#: Seconds, as Google's APIs have it.
TIMEOUT = "x-server-timeout"
AT_LEAST_VERSION = "x-realm-at-least-version"
#: Names a write: sent again under it, it changes nothing.
IDEMPOTENCY_KEY = "idempotency-key"

MAX_SECONDS = 600.0
MAX_REQUEST_ID = 128
#: What metadata of gRPC can carry.
_PRINTABLE = re.compile(r"[\x20-\x7e]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """`key` is the caller's, empty without one; `seconds` what the caller leaves, if it says so."""

    request_id: str
    key: str = ""
    timeout: str = ""

    @classmethod
    def of(cls, headers: Headers) -> Call:
        """:raises Unauthenticated: if the caller shows something that can be no key."""
        given = headers.get(REQUEST_ID, "")[:MAX_REQUEST_ID].strip()
        usable = given and _PRINTABLE.fullmatch(given)
        return cls(given if usable else uuid.uuid4().hex, _key(headers), headers.get(TIMEOUT, ""))

    def seconds(self, usual: float) -> float:
        """:raises InvalidInput: if the caller's deadline is no number of seconds."""
        if not self.timeout:
            return usual
        try:
            found = float(self.timeout)
        except ValueError:
            found = math.nan
        if not 0 < found <= MAX_SECONDS:
            raise InvalidInput(
                f"{TIMEOUT} is {self.timeout[:40]!r}: give seconds, more than 0 and at most"
                f" {MAX_SECONDS:.0f}",
                field=TIMEOUT,
            )
        return found


def _key(headers: Headers) -> str:
    given = headers.get("authorization", "")
    scheme, _, key = given.partition(" ")
    if not given:
        return ""
    if scheme.lower() != "bearer" or not key.strip() or not _PRINTABLE.fullmatch(key):
        raise Unauthenticated("give the key as `Authorization: Bearer KEY`")
    return key.strip()


#: Each request has a task of its own, and so a context.
current: ContextVar[Call] = ContextVar("call")


def key() -> str:
    return current.get().key


def metadata() -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID, current.get().request_id),)
