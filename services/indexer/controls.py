"""What operators asked for, kept in the store: pause, refresh."""

from __future__ import annotations

import time
from dataclasses import dataclass

from realm.errors import NotFound
from realm.store import Store

PAUSED = "control/paused.json"
REFRESH = "control/refresh.json"


@dataclass(frozen=True, slots=True)
class RefreshAsked:
    """A refresh on demand, at a Unix time: of a snapshot (None: the newest). `forced` says who
    wants it live whatever the gate thinks of its quality; empty: nobody."""

    at: float
    snapshot: int | None = None
    forced: str = ""


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

    def refresh_asked(self) -> RefreshAsked | None:
        """The last request; a build that began later has answered it."""
        try:
            found = self._store.read_json(REFRESH)
        except NotFound:
            return None
        return RefreshAsked(float(found["at"]), found.get("snapshot"), found.get("forced", ""))

    def ask_refresh(self, why: str, snapshot: int | None = None, forced: str = "") -> None:
        self._store.write_json(
            REFRESH, {"why": why, "at": time.time(), "snapshot": snapshot, "forced": forced}
        )
