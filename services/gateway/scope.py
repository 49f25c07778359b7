"""What a caller may reach: a filter that the caller's credentials carry, conjoined with each
request's own.

Whoever knows the caller (an interceptor) sets it around the call; all that reads or writes
documents goes through `reachable`, so that no request can widen it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from realm.errors import InvalidInput
from realm.filters import check, conjoin, matches
from realm.v1.types_pb2 import Filter

_scope: ContextVar[Filter | None] = ContextVar("scope", default=None)


@contextmanager
def scoped(scope: Filter | None) -> Iterator[None]:
    """Calls within reach only documents that match; None: all."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def reachable(request: Any) -> Filter | None:
    """What a request may reach: what its own `filter` and the caller's scope both match.

    :raises InvalidInput: naming what is wrong with its own.
    """
    own = check(request.filter) if request.HasField("filter") else None
    return conjoin(_scope.get(), own)


def confine(request: Any) -> None:
    """Puts what the request may reach into its `filter`, for the indexer to apply."""
    if (reach := reachable(request)) is not None:
        request.filter.CopyFrom(reach)


def check_writes(request: Any) -> None:
    """:raises InvalidInput: if a document of the request is out of its reach."""
    reach = reachable(request)
    for place, document in enumerate(request.documents):
        if not matches(reach, document.metadata):
            raise InvalidInput(
                f"documents[{place}] is outside of what this call may write: its metadata do not"
                " match the filter of the request, or of the key that was used",
                field=f"documents[{place}].metadata",
            )
