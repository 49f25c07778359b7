"""How long this process has seen things in their present state, by its own monotonic clock.

Time stamps in the store come from other clocks, so they cannot give an age. A new process starts
counting from zero: waiting for an age may take longer, never shorter.
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
        """Seconds since `name` was first seen in `state`; a new state starts from zero."""
        now = self._clock()
        if name not in self._since or self._since[name][0] != state:
            self._since[name] = state, now
        return now - self._since[name][1]

    def keep(self, names: Container[str]) -> None:
        """Forgets all others."""
        self._since = {name: since for name, since in self._since.items() if name in names}
