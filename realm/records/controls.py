"""What steers the indexer, kept in the store: what operators asked for (pause, refresh), and which
generations are damaged.

The leader notes a collection that has lost something; gateways read the note at every look and
claim nothing of such a generation any more. A note stays: what was lost is made again as another
generation, never put back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from realm.errors import Conflict, Corrupt, NotFound
from realm.records.json_records import numbered
from realm.records.store import Store

PAUSED = "control/paused.json"
#: One file a request, numbered: `<number>.json`. The newest counts, and stays.
REFRESHES = "control/refreshes"

DAMAGED = "control/damaged"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A refresh on demand: of a snapshot (None: the newest). `forced` says who wants it live
    whatever the gate thinks of its quality; empty: nobody."""

    number: int
    snapshot: int | None = None
    forced: str = ""


class Controls:
    """Reads and writes them. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def paused(self) -> bool:
        try:
            return bool(self._store.read_json(PAUSED)["paused"])
        except NotFound:
            return False
        except (Corrupt, KeyError, TypeError):
            return True  # somebody paused, or went on: nothing begins until he says it again

    def pause(self, paused: bool, why: str) -> None:
        """No build begins by itself while paused; one under way goes on to its end."""
        self._store.write_json(PAUSED, {"paused": paused, "why": why, "at": time.time()})

    def refresh_request(self) -> RefreshRequest | None:
        """The newest request; a generation whose manifest has its number, or a later one, has
        answered it."""
        for number, path in reversed(numbered(self._store.files(REFRESHES), ".json")):
            try:
                found = self._store.read_json(path)
            except Corrupt as error:
                log.error("request_passed_over", why=error.message)
                continue
            return RefreshRequest(number, found.get("snapshot"), found.get("forced", ""))
        return None

    def request_refresh(self, why: str, snapshot: int | None = None, forced: str = "") -> int:
        """One more request; earlier ones count no more. Returns its number."""
        asked = {"why": why, "at": time.time(), "snapshot": snapshot, "forced": forced}
        while True:
            earlier = numbered(self._store.files(REFRESHES), ".json")
            number = earlier[-1][0] + 1 if earlier else 1
            try:
                self._store.create_json(f"{REFRESHES}/{number:08d}.json", asked)
            except Conflict:
                continue
            # Somebody may be about to read the one before.
            self._store.delete_all(path for _, path in earlier[:-1])
            return number


def record_damage(store: Store, generation: int, why: str) -> None:
    store.write_json(_note(generation), {"why": why, "at": time.time()})


def damaged(store: Store) -> frozenset[int]:
    """Numbers of the generations that are noted."""
    return frozenset(number for number, _ in numbered(store.files(DAMAGED), ".json"))


def damage_of(store: Store, generation: int) -> str:
    """What its collection has lost; empty if nothing is known."""
    try:
        return str(store.read_json(_note(generation)).get("why", "it is damaged"))
    except NotFound:
        return ""
    except Corrupt:
        return "it is damaged"


def _note(generation: int) -> str:
    return f"{DAMAGED}/{generation:08d}.json"
