"""What steers the indexer, kept in the store: what operators asked for (pause, refresh, collection
of garbage), and which generations are damaged.

The leader notes a collection that has lost something; gateways read the note at every look and
claim nothing of such a generation any more. A note stays: what was lost is made again as another
generation, never put back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from realm.errors import Conflict, Corrupt, NotFound
from realm.records.json_records import numbered
from realm.records.store import Store

FOLDER = "control"
PAUSED = f"{FOLDER}/paused.json"
#: One file a request, numbered: `<number>.json`. The newest counts, and stays.
REFRESHES = f"{FOLDER}/refreshes"
#: The leader is asked to collect garbage by this file.
COLLECT = f"{FOLDER}/gc.json"

DAMAGED = f"{FOLDER}/damaged"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A refresh on demand: of a snapshot (None: the newest). `forced` says who wants it live
    whatever the gate thinks of its quality; empty: nobody."""

    number: int
    snapshot: int | None = None
    forced: str = ""


@dataclass(frozen=True, slots=True)
class Steering:
    """All that steers the indexer: the newest request for a refresh, whether garbage is to be
    collected, and the numbers of the generations that are damaged."""

    paused: bool
    refresh: RefreshRequest | None
    collect: bool
    damaged: frozenset[int]


class Controls:
    """Reads and writes them. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def steering(self) -> Steering:
        """By one list; what is not in it is not read."""
        files = self._store.files(FOLDER)
        return Steering(
            PAUSED in files and self.paused(),
            self._newest(_below(REFRESHES, files)),
            COLLECT in files,
            damaged_among(files),
        )

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
        return self._newest(self._store.files(REFRESHES))

    def _newest(self, requests: Iterable[str]) -> RefreshRequest | None:
        for number, path in reversed(numbered(requests, ".json")):
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
    return damaged_among(store.files(DAMAGED))


def damaged_among(files: Iterable[str]) -> frozenset[int]:
    """As `damaged`, by files of the store that were listed, all of `DAMAGED` among them."""
    return frozenset(number for number, _ in numbered(_below(DAMAGED, files), ".json"))


def damage_of(store: Store, generation: int) -> str:
    """What its collection has lost; empty if nothing is known."""
    try:
        return str(store.read_json(_note(generation)).get("why", "it is damaged"))
    except NotFound:
        return ""
    except Corrupt:
        return "it is damaged"


def _below(folder: str, files: Iterable[str]) -> list[str]:
    return [path for path in files if path.startswith(f"{folder}/")]


def _note(generation: int) -> str:
    return f"{DAMAGED}/{generation:08d}.json"
