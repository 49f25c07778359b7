"""What a caller may reach: the filter of its key, conjoined with each request's own.

All that reads or writes documents goes through `reachable`, so that no request can widen it.
"""

from __future__ import annotations

from typing import Any

from realm.access.principal import caller
from realm.errors import InvalidInput
from realm.filters import check, conjoin, matches
from realm.v1.types_pb2 import Filter


def reachable(request: Any) -> Filter | None:
    """What a request may reach: what its own `filter` and that of the caller's key both match.

    :raises InvalidInput: naming what is wrong with its own.
    """
    own = check(request.filter) if request.HasField("filter") else None
    return conjoin(caller().filter, own)


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
