"""What operators asked for, kept in the store: pause, refresh."""

from __future__ import annotations

import time

from realm.errors import NotFound
from realm.store import Store

PAUSED = "control/paused.json"
REFRESH = "control/refresh.json"


class Controls:
    """Reads and writes the two files."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def paused(self) -> bool:
        try:
            return bool(self._store.read_json(PAUSED)["paused"])
        except NotFound:
            return False

    def pause(self, paused: bool, why: str) -> None:
        """No build begins by itself while paused; one under way goes on to its end."""
        self._store.write_json(PAUSED, {"paused": paused, "why": why, "at": time.time()})

    def refresh_asked_at(self) -> float | None:
        """Unix time of the last request; a build that began later has answered it."""
        try:
            return float(self._store.read_json(REFRESH)["at"])
        except NotFound:
            return None

    def ask_refresh(self, why: str) -> None:
        self._store.write_json(REFRESH, {"why": why, "at": time.time()})
