"""Generations: a snapshot × a corpus in a collection of its own; and which one is live.

Manifests are immutable. A generation's state is its newest event; what is live is the newest
entry of `live/`, put conditionally: that put is the commit.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from realm.errors import Conflict, Corrupt, NotFound
from realm.store import Store


class State(StrEnum):
    BUILDING = "building"
    VALIDATING = "validating"
    LIVE = "live"
    RETAINED = "retained"
    RETIRED = "retired"
    DELETED = "deleted"
    REJECTED = "rejected"
    ABANDONED = "abandoned"


#: States whose collections follow every write.
ACTIVE = frozenset({State.BUILDING, State.VALIDATING, State.LIVE, State.RETAINED})


@dataclass(frozen=True, slots=True)
class Generation:
    """A manifest. `passage_files` holds one file a shard; `created_at` is Unix time, for people.

    `average_terms` is the passage length that BM25 weights refer to, fixed for the generation's
    life so that all its upserts agree; 0 for one made before collections had BM25. `forced` says
    who wants it live whatever the gate thinks of its quality, and why; empty: nobody. `heals` is
    the damaged generation that it is to replace, of the same snapshot; 0: none.
    """

    number: int
    snapshot: int
    step: int
    corpus_version: int
    fingerprint: str
    vector_size: int
    passage_files: tuple[str, ...]
    collection: str
    created_at: float
    why: str
    #: Of the leader that began it; see `realm.leaders`.
    term: int = 0
    average_terms: float = 0.0
    forced: str = ""
    #: The newest request for a refresh when it was begun.
    request: int = 0
    #: The turn of what was live then, which it is to replace (0: nothing was); None: of a release
    #: that did not note it.
    replaces: int | None = None
    heals: int = 0

    @property
    def folder(self) -> str:
        return generation_folder(self.number)

    def delta_file(self, after: int, upto: int) -> str:
        """The changes of corpus versions after < version ≤ upto, embedded for this generation."""
        return f"{self.folder}/deltas/{after:012d}-{upto:012d}.arrow"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state: `at` is Unix time, for people; `report` has the gate's figures
    or phases' durations."""

    sequence: int
    state: State
    at: float
    why: str = ""
    report: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """One entry of the history of what was live. `at` (Unix time, for people), `why`: when and why
    it went live; a leader that takes over repeats them, with `by` and `term` of its own."""

    sequence: int
    generation: int
    at: float
    by: str
    why: str
    #: Of the leader that put it: an earlier leader puts none after it.
    term: int = 0


def generation_folder(number: int) -> str:
    return f"generations/{number:08d}"


def collection_name(number: int) -> str:
    return f"passages-{number:08d}"


class Generations:
    """Manifests, events and applied versions of generations, and the `live/` history."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._manifests: dict[int, Generation] = {}
        self._events: dict[str, Event] = {}

    def numbers(self) -> list[int]:
        """Numbers of all generations with a manifest, oldest first."""
        return [int(name) for name in self._store.folders("generations")]

    def next_number(self) -> int:
        return max(self.numbers(), default=0) + 1

    def create(self, generation: Generation) -> None:
        """:raises Conflict: if the number is taken."""
        self._store.create_json(f"{generation.folder}/manifest.json", asdict(generation))

    def get(self, number: int) -> Generation:
        """:raises NotFound:"""
        if number not in self._manifests:
            raw = self._store.read_json(f"{generation_folder(number)}/manifest.json")
            raw["passage_files"] = tuple(raw["passage_files"])
            self._manifests[number] = Generation(**raw)
        return self._manifests[number]

    def events(self, number: int) -> list[Event]:
        """All changes of state, oldest first."""
        return [
            self._event(path) for path in self._store.files(f"{generation_folder(number)}/events")
        ]

    def state(self, number: int) -> State | None:
        """The newest event's state; None for a generation whose first event is still missing."""
        paths = self._store.files(f"{generation_folder(number)}/events")
        return self._event(paths[-1]).state if paths else None

    def is_active(self, number: int) -> bool:
        """Whether work for it is wanted."""
        return self.state(number) in ACTIVE

    def record(
        self, number: int, state: State, why: str = "", report: dict[str, float] | None = None
    ) -> Event:
        """Adds the next event.

        :raises Conflict: if somebody else recorded one at the same time.
        """
        folder = f"{generation_folder(number)}/events"
        sequence = len(self._store.files(folder)) + 1
        event = Event(sequence, state, time.time(), why, report or {})
        self._store.create_json(f"{folder}/{sequence:06d}.json", asdict(event))
        return event

    def applied(self, number: int) -> int:
        """The corpus version up to which every write is in the generation's collection.

        :raises NotFound: if the generation is unknown.
        """
        paths = self._store.files(f"{generation_folder(number)}/applied")
        if not paths:
            return self.get(number).corpus_version
        return int(paths[-1].rsplit("/", 1)[-1])

    def points(self, number: int) -> int | None:
        """How many points the collection holds at the applied version; None: nobody recorded it.

        :raises NotFound: if the generation is unknown.
        """
        paths = self._store.files(f"{self.get(number).folder}/applied")
        try:
            points = self._store.read_json(paths[-1]).get("points") if paths else None
        except (Corrupt, NotFound):  # one of an older release, or a newer one took its place
            return None
        return int(points) if points is not None else None

    def record_applied(self, number: int, version: int, points: int | None = None) -> None:
        """One file a version, never overwritten: a late writer cannot turn the figure back.

        :param points: how many the collection holds now; None: not known.
        """
        folder = f"{generation_folder(number)}/applied"
        older = [
            path for path in self._store.files(folder) if int(path.rsplit("/", 1)[-1]) < version
        ]
        try:
            self._store.create_json(f"{folder}/{version:012d}", {"points": points})
        except Conflict:
            return
        for path in older:
            self._store.delete(path)

    def live(self) -> LiveEntry | None:
        """The newest entry of `live/`; None before the first commit."""
        paths = self._store.files("live")
        return LiveEntry(**self._store.read_json(paths[-1])) if paths else None

    def served(self) -> set[int]:
        """What gateways search, and what a rollback would make them search."""
        live = self.live()
        retained = {each for each in self.numbers() if self.state(each) is State.RETAINED}
        return retained | ({live.generation} if live else set())

    def live_history(self) -> list[LiveEntry]:
        return [LiveEntry(**self._store.read_json(path)) for path in self._store.files("live")]

    def commit(
        self, generation: int, *, after: LiveEntry | None, by: str, why: str, term: int = 0
    ) -> LiveEntry:
        """The commit: one conditional put of the entry that follows `after`.

        :raises Conflict: if that entry exists, or `after` is of a later leader; re-read, and ask
            whether you still lead.
        """
        if after is not None and after.term > term:
            raise Conflict(f"the leader of term {after.term} made {after.sequence} live: not ours")
        sequence = after.sequence + 1 if after else 1
        return self._put(LiveEntry(sequence, generation, time.time(), by, why, term))

    def fence(self, term: int, floor: int, by: str) -> None:
        """Puts what is live once more, as this term's: none before `floor` commits after that.

        Whoever sleeps over a commit wants the very entry that is taken here. When and why it went
        live stay as they were.

        :raises Conflict: if a later leader did so.
        """
        while (before := self.live()) is not None and before.term < floor:
            try:
                self._put(replace(before, sequence=before.sequence + 1, by=by, term=term))
            except Conflict:
                continue
        if before is not None and before.term > term:
            raise Conflict(f"an indexer of term {before.term} leads, not of {term}")

    def delete_files(self, number: int) -> None:
        """Deletes what a deleted generation no longer needs; manifest and events stay."""
        for part in ("deltas", "pieces", "applied"):
            self._store.delete_folder(f"{generation_folder(number)}/{part}")

    def _put(self, entry: LiveEntry) -> LiveEntry:
        self._store.create_json(f"live/{entry.sequence:08d}.json", asdict(entry))
        return entry

    def _event(self, path: str) -> Event:
        if path not in self._events:
            raw = self._store.read_json(path)
            self._events[path] = Event(**{**raw, "state": State(raw["state"])})
        return self._events[path]
