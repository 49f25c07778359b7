"""What callers are not told: where the store, Qdrant, Redis and the other processes are.

The log of the process says it.
"""

from __future__ import annotations

import re

from realm.errors import DependencyUnavailable, NotReady, RealmError

#: URLs, gRPC's addresses, host:port, absolute paths.
_PLACE = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s,;)'\"]+"
    r"|\b(?:ipv4|ipv6|dns|unix):[^\s,;)'\"]+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\b[\w.-]+:\d{2,5}\b"
    r"|(?<![\w./])/(?:[\w.@-]+/)+[\w.@-]*"
)
HIDDEN = "(address withheld)"


def for_callers(error: RealmError) -> RealmError:
    """The error without places, if it is of a kind that tells of what is behind the server; what a
    caller sent itself is said back as it is."""
    tells = isinstance(error, DependencyUnavailable | NotReady) or type(error) is RealmError
    if not tells:
        return error
    details = {name: _PLACE.sub(HIDDEN, value) for name, value in error.details.items()}
    return type(error)(_PLACE.sub(HIDDEN, error.message), **details)
