"""Who calls. Each call runs in a task of its own, so what is bound to its context ends with it."""

from __future__ import annotations

from collections.abc import Set
from contextvars import ContextVar
from dataclasses import dataclass

from realm.access.methods import Needs
from realm.errors import Forbidden
from realm.v1.types_pb2 import Filter

SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller and what it may do. `filter` is what documents match that it reaches; None: all."""

    name: str
    scopes: Set[str]
    filter: Filter | None = None

    def check(self, needs: Needs, method: str) -> None:
        """:raises Forbidden: saying what is missing."""
        if needs.scope is None:
            raise Forbidden(f"nobody may call {method}: it has no scope", method=method)
        if needs.scope and not {needs.scope, SERVE} & self.scopes:
            raise Forbidden(
                f"{self.name} lacks the scope {needs.scope}, which {method} needs",
                method=method,
                scope=needs.scope,
            )
        if self.filter is not None and not needs.filtered:
            raise Forbidden(
                f"{self.name} reaches a part of the corpus alone, and {method} does not keep to it",
                method=method,
            )


#: Where keys are not asked for.
ANYBODY = Principal("anybody", frozenset({SERVE}))
_CALLER: ContextVar[Principal] = ContextVar("caller", default=ANYBODY)


def caller() -> Principal:
    """Of the call that is being answered."""
    return _CALLER.get()


def bind_caller(principal: Principal) -> None:
    """For the rest of the call."""
    _CALLER.set(principal)
