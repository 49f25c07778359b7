"""What each method needs of its caller, as the protos say (`realm/v1/access.proto`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool

from realm.v1 import access_pb2

#: Whoever can connect may ask whether a process is well: kubelets and balancers have no keys.
OPEN = ("/grpc.health.v1.Health/",)
#: Any caller that is known.
ANY_CALLER = ("/grpc.reflection.",)
_PREFIX = "SCOPE_"


@dataclass(frozen=True, slots=True)
class Needs:
    """`scope` is that of the method in lower case; empty: any; None: nobody may call it.
    `filtered`: it keeps to the filter of the caller's key."""

    scope: str | None
    filtered: bool = False


@cache
def needs_of(method: str) -> Needs | None:
    """Of `/realm.v1.AnswerService/AnswerQuestion`; None if it is open to all."""
    if method.startswith(OPEN):
        return None
    if method.startswith(ANY_CALLER):
        return Needs("", filtered=True)
    try:
        name = method.removeprefix("/").replace("/", ".")
        options = descriptor_pool.Default().FindMethodByName(name).GetOptions()
    except KeyError:
        return Needs(None)
    # Stubs call an extension a field of no message in particular.
    extensions: Any = options.Extensions
    scope = extensions[access_pb2.scope]
    if scope == access_pb2.SCOPE_UNSPECIFIED:
        return Needs(None)
    name = access_pb2.Scope.Name(scope).removeprefix(_PREFIX).lower()
    return Needs(name, extensions[access_pb2.filtered])
