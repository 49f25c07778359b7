"""For how long this process has seen things as they are, by its own monotonic clock.

A stamp in the store was made by another clock, and says nothing about how long ago that was. A new
process counts anew: whoever waits for an age waits longer then, never shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container


class Ages:
    """Used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[object, float]] = {}

    def of(self, name: str, state: object) -> float:
        """Seconds since the thing was first seen in that state; it counts anew in another one."""
        now = self._clock()
        if name not in self._since or self._since[name][0] != state:
            self._since[name] = state, now
        return now - self._since[name][1]

    def keep(self, names: Container[str]) -> None:
        """Forgets all others."""
        self._since = {name: since for name, since in self._since.items() if name in names}
