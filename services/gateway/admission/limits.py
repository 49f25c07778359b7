"""Bounds of what waits without being work: streams, watchers, waiters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from realm.errors import Overloaded


class Limit:
    """At most so many of a kind at once."""

    def __init__(self, what: str, most: int) -> None:
        """:param what: their name in the plural, for whoever is refused."""
        self._what = what
        self._most = most
        self.taken_now = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """:raises Overloaded: if there are as many as may be."""
        if self.taken_now >= self._most:
            raise Overloaded(f"there are {self._most} {self._what} already; try again in a moment")
        self.taken_now += 1
        try:
            yield
        finally:
            self.taken_now -= 1
