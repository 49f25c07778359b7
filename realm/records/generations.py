"""Generations: a snapshot × a corpus in a collection of its own; and which one is live.

Manifests are immutable. A generation's state is its newest event; what is live is the newest
entry of `live/`, put conditionally: that put is the commit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

import structlog

from realm.errors import Conflict, Corrupt, NotFound
from realm.records.generation import NOTHING, Event, Generation, LiveEntry, generation_folder
from realm.records.json_records import KnownRecords, numbered
from realm.records.states import ACTIVE, State, may_follow
from realm.records.store import Store

MANIFEST = "manifest.json"
DELTA = re.compile(r"(\d+)-(\d+)\.arrow", re.ASCII)

log = structlog.get_logger(__name__)


class Generations:
    """Manifests, events and applied versions of generations, and the `live/` history.

    What is written is immutable, so each is read once. A damaged manifest sets its generation
    aside: it is skipped and logged. Unknown files are skipped too.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._manifests = KnownRecords(
            store, Generation, "generation_set_aside", lambda each: _manifest(each.number)
        )
        self._events = KnownRecords(
            store, Event, "event_passed_over", lambda each: _event_name(each.sequence)
        )
        self._entries = KnownRecords(
            store, LiveEntry, "live_entry_passed_over", lambda each: _live_file(each.sequence)
        )

    def numbers(self) -> list[int]:
        """Numbers of all generations with a manifest that can be read, oldest first."""
        return [number for number in self._folders() if self.find(number) is not None]

    def set_aside(self) -> list[int]:
        """Numbers of those that are there without a manifest that can be read."""
        return [number for number in self._folders() if self.find(number) is None]

    def next_number(self) -> int:
        """A number that was never used, not even by a deleted generation."""
        return max(self._folders(), default=0) + 1

    def create(self, generation: Generation) -> None:
        """:raises Conflict: if the number is taken."""
        self._store.create_json(_manifest(generation.number), asdict(generation))

    def get(self, number: int) -> Generation:
        """:raises NotFound:
        :raises Corrupt: if its manifest is damaged.
        """
        return self._manifests.get(_manifest(number))

    def find(self, number: int) -> Generation | None:
        """None if there is none, or its manifest is damaged."""
        return self._manifests.find(_manifest(number))

    def events(self, number: int) -> list[Event]:
        """All changes of state, oldest first."""
        found = (self._events.find(path) for _, path in self._event_files(number))
        return [event for event in found if event is not None]

    def state(self, number: int) -> State | None:
        """The newest event's state; None for a generation whose first event is still missing."""
        for _, path in reversed(self._event_files(number)):
            if (event := self._events.find(path)) is not None:
                return event.state
        return None

    def is_active(self, number: int) -> bool:
        """Whether work for it is wanted."""
        return self.state(number) in ACTIVE

    def record(
        self, number: int, state: State, why: str = "", report: dict[str, float] | None = None
    ) -> Event:
        """Adds the next event.

        :raises Conflict: if somebody else recorded one at the same time, or the generation has
            got to a state that this one cannot follow.
        """
        if not may_follow(before := self.state(number), state):
            raise Conflict(f"generation {number} is {before}: it cannot become {state}")
        sequence = max((each for each, _ in self._event_files(number)), default=0) + 1
        event = Event(sequence, state, time.time(), why, report or {})
        path = f"{generation_folder(number)}{_event_name(sequence)}"
        self._store.create_json(path, asdict(event))
        return event

    def applied(self, number: int) -> int:
        """The corpus version up to which every write is in the generation's collection; 0 if
        nothing can be read of it.

        :raises NotFound: if the generation is unknown.
        """
        versions = numbered(self._store.files(f"{generation_folder(number)}/applied"))
        if versions:
            return versions[-1][0]
        try:
            return self.get(number).corpus_version
        except Corrupt:
            return 0

    def delta_steps(self, number: int) -> list[tuple[int, int]]:
        """The steps (after, upto) of which there is a `delta_file`, in the order of the corpus."""
        files = self._store.files(f"{generation_folder(number)}/deltas")
        found = (DELTA.fullmatch(path.rpartition("/")[2]) for path in files)
        return sorted((int(each[1]), int(each[2])) for each in found if each)

    def points(self, number: int) -> int | None:
        """How many points the collection holds at the applied version; None: not recorded.

        :raises NotFound: if the generation is unknown.
        """
        found = numbered(self._store.files(f"{self.get(number).folder}/applied"))
        try:
            noted = self._store.read_json(found[-1][1]) if found else None
        except (Corrupt, NotFound):  # one of an older release, or a newer one took its place
            return None
        points = noted.get("points") if isinstance(noted, dict) else None
        return int(points) if points is not None else None

    def record_applied(self, number: int, version: int, points: int | None = None) -> None:
        """One file a version, never overwritten: a late writer cannot turn the figure back.

        :param points: how many the collection holds now; None: not known.
        """
        folder = f"{generation_folder(number)}/applied"
        older = [path for each, path in numbered(self._store.files(folder)) if each < version]
        try:
            self._store.create_json(f"{folder}/{version:012d}", {"points": points})
        except Conflict:
            return
        self._store.delete_all(older)

    def live(self) -> LiveEntry | None:
        """The newest entry of `live/` that can be read; None before the first commit."""
        return self.newest()[0]

    def newest(self) -> tuple[LiveEntry | None, str | None]:
        """As `live`, and the path of a newer entry that cannot be read. Only a leader can tell what
        that says: it remembers it, or puts what is live once more when it takes over."""
        unreadable = None
        for _, path in reversed(numbered(self._store.files("live"), ".json")):
            entry = self._entries.find(path)
            if entry is None:
                unreadable = unreadable or path
            elif entry.generation:
                return entry, unreadable
        return None, unreadable

    def served(self) -> set[int]:
        """What gateways search, and what a rollback would make them search."""
        live = self.live()
        retained = {each for each in self.numbers() if self.state(each) is State.RETAINED}
        unreadable = {*self.in_use()} & {*self.set_aside()}
        return retained | unreadable | ({live.generation} if live else set())

    def live_history(self) -> list[LiveEntry]:
        """Oldest first."""
        return [*self._newest_first()][::-1]

    def entry_of(self, number: int) -> LiveEntry | None:
        """The newest that made this generation live; None if it never was."""
        return next((each for each in self._newest_first() if each.generation == number), None)

    def in_use(self) -> list[int]:
        """What is live, and what was before it: whether their manifests can be read or not."""
        found = dict.fromkeys(each.generation for each in self._newest_first())
        return list(found)[:2]

    def commit(
        self,
        generation: int,
        *,
        after: LiveEntry | None,
        by: str,
        why: str,
        term: int = 0,
        request_id: str = "",
    ) -> LiveEntry:
        """The commit: one conditional put of the entry that follows `after`.

        :raises Conflict: if that entry exists, or `after` is of a later leader; re-read, and ask
            whether you still lead.
        """
        if after is not None and after.term > term:
            raise Conflict(f"the leader of term {after.term} made {after.sequence} live: not ours")
        if after is None and (other := self._fenced_by()) > term:
            raise Conflict(f"an indexer of term {other} leads, not of {term}")
        sequence = self._next(after)
        return self._put(LiveEntry(sequence, generation, time.time(), by, why, term, request_id))

    def fence(self, term: int, floor: int, by: str) -> None:
        """Puts what is live once more, as this term's: none before `floor` commits after that.

        A suspended leader that wakes in the middle of a commit wants the very entry that is taken
        here. When and why it went live stay as they were. If nothing is live, an entry says so. If
        the newest entry is damaged, events tell what it said.

        :raises Conflict: if a later leader did so.
        """
        while not self._is_fenced(before := self._before(), floor):
            if before is not None and before.term > term:
                break
            nothing = LiveEntry(0, NOTHING, time.time(), by, "nothing is live yet", term)
            fence = replace(before or nothing, sequence=self._next(before), by=by, term=term)
            try:
                self._put(fence)
            except Conflict:
                continue
        if before is not None and before.term > term:
            raise Conflict(f"an indexer of term {before.term} leads, not of {term}")

    def _is_fenced(self, before: LiveEntry | None, floor: int) -> bool:
        if before is None:
            return floor <= self._fenced_by()
        return before.term >= floor and self._next(before) == before.sequence + 1

    def _fenced_by(self) -> int:
        """The newest term that has put that nothing is live; 0: none did."""
        return max((each.term for each in self._entries_read() if not each.generation), default=0)

    def newest_records(self, numbers: Iterable[int]) -> dict[str, Any]:
        """By path, as this process has read them: the newest entry of `live/`, and of these
        generations the newest event and the manifest."""
        files = numbered(self._store.files("live"), ".json")[-1:]
        for number in numbers:
            files += self._event_files(number)[-1:]
            files.append((0, _manifest(number)))
        known: dict[str, Any] = {}
        for kind in (self._entries.known, self._events.known, self._manifests.known):
            known |= {path: kind[path] for _, path in files if path in kind}
        return known

    def delete_files(self, number: int) -> None:
        """Deletes what a deleted generation no longer needs; manifest and events stay."""
        for part in ("deltas", "pieces", "applied"):
            self._store.delete_folder(f"{generation_folder(number)}/{part}")

    def _put(self, entry: LiveEntry) -> LiveEntry:
        path = _live_file(entry.sequence)
        self._store.create_json(path, asdict(entry))
        self._entries.known[path] = entry  # should it be damaged before it is read
        return entry

    def _next(self, after: LiveEntry | None) -> int:
        """The sequence number that follows; those of damaged entries, and of those that name no
        generation, are used up. Whoever read the same entry finds the same number, and one of them
        gets it."""
        sequence = after.sequence + 1 if after else 1
        while self._store.exists(path := _live_file(sequence)) and not (
            (found := self._entries.find(path)) and found.generation
        ):
            sequence += 1
        return sequence

    def _before(self) -> LiveEntry | None:
        """The newest entry; if newer ones are damaged, for what events say is live."""
        entry = self.live()
        if self._next(entry) == (entry.sequence + 1 if entry else 1):
            return entry
        recorded = [each for each in self.numbers() if self.state(each) is State.LIVE]
        if not recorded:
            return entry
        if entry is None:
            return LiveEntry(0, recorded[-1], time.time(), "", "its entry is damaged")
        return replace(entry, generation=recorded[-1])

    def _newest_first(self) -> Iterator[LiveEntry]:
        return (each for each in self._entries_read() if each.generation)

    def _entries_read(self) -> Iterator[LiveEntry]:
        """The newest first."""
        for _, path in reversed(numbered(self._store.files("live"), ".json")):
            if (entry := self._entries.find(path)) is not None:
                yield entry

    def _folders(self) -> list[int]:
        return sorted({number for number, _ in numbered(self._store.folders("generations"))})

    def _event_files(self, number: int) -> list[tuple[int, str]]:
        return numbered(self._store.files(f"{generation_folder(number)}/events"), ".json")


def _manifest(number: int) -> str:
    return f"{generation_folder(number)}/{MANIFEST}"


def _event_name(sequence: int) -> str:
    return f"/events/{sequence:06d}.json"


def _live_file(sequence: int) -> str:
    return f"live/{sequence:08d}.json"
