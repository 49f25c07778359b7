"""Plans garbage collection: the leader carries the plan out, `realm gc` shows it.

Kept are the active generations, those that ended lately, the newest (the next is made from it) and
the best accepted lately (the gate compares with it); their snapshots, passage files, vectors and
changes; the newest and the pinned snapshots; and whatever is newer than all of these, as it may be
in use soon. An orphan that stays a while costs disk space; a file deleted too soon costs an index.

Each rule is a method that `plan` lists; the leader needs to know no rule, only each `Thing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from realm.errors import Corrupt, NotFound
from realm.records.baselines import FIGURES, GateBaselines
from realm.records.controls import DAMAGED
from realm.records.failures import FOLDER as REFUSED
from realm.records.failures import QUARANTINE, failure_file, failures, quarantine_file, quarantined
from realm.records.folder import Entry
from realm.records.generation import Generation, generation_folder
from realm.records.generations import Generations
from realm.records.recorded_questions import Bounds, RecordedQuestions, probe_files
from realm.records.snapshots import CLAIMS, MANIFEST, NAME, Snapshots
from realm.records.states import ACTIVE, ENDED, IN_PROGRESS, Ages, State
from realm.records.store import Store
from realm.records.vectors import vector_file

#: A file still being written is complete by then.
SETTLED_SECONDS = 3600.0
#: Ended generations whose manifest and events are kept, for the history.
HISTORY = 200
CLAIMS_KEPT = 100
NO_QUESTIONS = Bounds(0, 0.0)
PASSAGES = re.compile(r"passages/([^/]+)/([^/]+)/(\d*).*\.arrow", re.ASCII)
COLLECTION = re.compile(r"passages-(\d{8})")
#: Documents deleted up to this corpus version are to be nowhere any more.
ERASED = "control/erased.json"


class Thing(Enum):
    """What a removal's `name` names, and so how it is deleted."""

    FILE = auto()
    FOLDER = auto()
    SNAPSHOT = auto()
    COLLECTION = auto()


@dataclass(frozen=True, slots=True)
class Removal:
    """A thing that may go: `kind` says to people what it is, `size` its bytes (0: unknown)."""

    kind: str
    name: str
    size: int
    why: str
    thing: Thing = Thing.FILE


@dataclass(frozen=True, slots=True)
class Needed:
    """What must stay. `numbers` are those of the needed generations, `generations` those of them
    whose snapshot is there; `first` is the oldest corpus version that any of a fingerprint
    began with."""

    numbers: frozenset[int]
    generations: Mapping[int, Generation]
    snapshots: frozenset[int]
    newest: int
    passages: frozenset[str]
    vectors: frozenset[str]
    first: Mapping[str, int] = field(default_factory=dict)


def erased_upto(store: Store) -> int:
    try:
        return int(store.read_json(ERASED)["version"])
    except (NotFound, Corrupt):
        return 0


class Retention:
    """Reads; deletes nothing.

    :param retirement_seconds: how long an ended generation's files stay.
    :param gate_memory: among so many accepted ones the gate looks for the best.
    :param recorded: how many of the users' questions stay, and how long.
    :param age: for how many seconds a thing, given by name and stamp, has been as it is. Whoever
        deletes leaves it as it is: stamps are of other clocks.
    """

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        retirement_seconds: float,
        gate_memory: int = 0,
        recorded: Bounds = NO_QUESTIONS,
        age: Callable[[str, float], float] | None = None,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._retirement = retirement_seconds
        self._recorded = recorded
        self._age = age or Ages().of
        #: Generations past their gate that no recorded question was asked of.
        self._without_recorded: set[int] = set()
        self._baselines = GateBaselines(generations, snapshots, gate_memory)

    def plan(self, now: float, erased: int = 0, collections: Iterable[str] = ()) -> list[Removal]:
        """What may go; nothing before the first generation.

        :param now: Unix time: users' questions are kept for a time in the world.
        :param erased: what may hold documents deleted up to this corpus version is not kept to be
            compared with.
        :param collections: names of those that Qdrant has.
        """
        needed = self.needed(max(erased, erased_upto(self._store)))
        if not needed.generations or set(self._generations.set_aside()) & {
            *self._generations.in_use()
        }:
            return []  # what is in use may be made of anything
        return [
            *self._vectors(needed),
            *self._passages(needed),
            *self._old_snapshots(needed),
            *self._half_made_snapshots(),
            *self._generation_files(needed),
            *self._history(needed),
            *self._questions(needed, now),
            *self._notes(needed),
            *self._collections(collections),
        ]

    def needed(self, erased: int = 0) -> Needed:
        numbers = self._generations.numbers()
        kept = {number for number in numbers if self._is_needed(number)} | set(numbers[-1:])
        kept |= self._best(erased)
        there = {snapshot.number: snapshot for snapshot in self._snapshots.all()}
        found = {number: self._generations.get(number) for number in sorted(kept)}
        found = {number: each for number, each in found.items() if each.snapshot in there}
        first: dict[str, int] = {}
        for each in found.values():
            oldest = first.get(each.fingerprint, each.corpus_version)
            first[each.fingerprint] = min(each.corpus_version, oldest)
        return Needed(
            numbers=frozenset(kept),
            generations=found,
            snapshots=frozenset(
                {each.snapshot for each in found.values()}
                | set(self._snapshots.pinned())
                | set(sorted(there)[-1:])
            ),
            newest=max((each.snapshot for each in found.values()), default=0),
            passages=frozenset(
                path
                for each in found.values()
                for path in (*each.passage_files, each.word_statistics)
            ),
            vectors=frozenset(
                vector_file(there[each.snapshot].name, path)
                for each in found.values()
                for path in each.passage_files
            ),
            first=first,
        )

    def _is_needed(self, number: int) -> bool:
        events = self._generations.events(number)
        if not events or events[-1].state in ACTIVE:
            return True
        # A rejected one is there to be looked at for a while.
        return (
            events[-1].state in ENDED
            and self._age(generation_folder(number), events[-1].at) <= self._retirement
        )

    def _best(self, erased: int) -> set[int]:
        best = {self._baselines.best_number(figure) for figure in FIGURES}
        return {n for n in best if n and self._generations.get(n).corpus_version >= erased}

    def _vectors(self, needed: Needed) -> Iterator[Removal]:
        """A shard's vectors by a needed snapshot stay with the passage file that they are of; an
        unchanged passage takes its vector over from the generation before, which is needed."""
        for entry in self._store.entries("vectors"):
            if entry.path in needed.vectors:
                continue
            number = entry.path.split("/")[1].split("-")[0]
            if not number.isdecimal() or int(number) > needed.newest:
                continue
            if int(number) not in needed.snapshots:
                why = f"no index needs snapshot {int(number)}"
                yield Removal("vectors", entry.path, entry.size, why)
            else:
                yield Removal("vectors", entry.path, entry.size, "no index has these passages")

    def _passages(self, needed: Needed) -> Iterator[Removal]:
        for entry in self._store.entries("passages"):
            if entry.path in needed.passages:
                continue
            if (found := PASSAGES.fullmatch(entry.path)) is None:
                continue
            fingerprint, shard, after = found.groups()
            if shard == "changes" and after:
                # The next step may be in the store before any generation has applied it.
                oldest = needed.first.get(fingerprint)
                if oldest is None or int(after) < oldest:
                    why = "every index that is needed was begun with these changes"
                    yield Removal("changes", entry.path, entry.size, why)
            else:
                yield Removal("passages", entry.path, entry.size, "no index is made of this file")

    def _old_snapshots(self, needed: Needed) -> Iterator[Removal]:
        for snapshot in self._snapshots.all():
            if snapshot.number not in needed.snapshots and snapshot.number < needed.newest:
                size = sum(file.size for file in snapshot.files.values())
                why = "no index needs it, a newer one is there, and it is not pinned"
                yield Removal("snapshot", str(snapshot.number), size, why, Thing.SNAPSHOT)

    def _half_made_snapshots(self) -> Iterator[Removal]:
        whole = {snapshot.name for snapshot in self._snapshots.all()}
        for name in self._store.folders("snapshots"):
            if not NAME.fullmatch(name) or name in whole:
                continue
            if self._store.exists(f"snapshots/{name}/{MANIFEST}"):
                continue  # a damaged one: perhaps it is mended
            entries = self._store.entries(f"snapshots/{name}")
            settled = [self._settled(entry) for entry in entries]  # each one's age begins to count
            if all(settled):
                size = sum(entry.size for entry in entries)
                why = "its publication broke off: it has no manifest"
                yield Removal("half a snapshot", f"snapshots/{name}", size, why, Thing.FOLDER)
        for entry in self._store.entries(CLAIMS)[:-CLAIMS_KEPT]:
            yield Removal("claim", entry.path, entry.size, "its number is used")

    def _generation_files(self, needed: Needed) -> Iterator[Removal]:
        """Of those that are over manifest and events stay: what they were made of and how they
        ended is history; probes and deltas hold texts."""
        over = set(self._generations.numbers()) - needed.numbers
        for entry in self._store.entries("generations"):
            _, number, inner = [*entry.path.split("/", 2), ""][:3]
            if not number.isdecimal() or int(number) not in over:
                continue
            if inner != MANIFEST and not inner.startswith("events/"):
                yield Removal("index files", entry.path, entry.size, "the index is over")

    def _history(self, needed: Needed) -> Iterator[Removal]:
        for number in self._generations.numbers()[:-HISTORY]:
            if number not in needed.numbers:
                entries = self._store.entries(generation_folder(number))
                size = sum(entry.size for entry in entries)
                why = f"older than the {HISTORY} generations kept as history"
                yield Removal("history", generation_folder(number), size, why, Thing.FOLDER)

    def _questions(self, needed: Needed, now: float) -> Iterator[Removal]:
        """Users' questions, and their copies among the probes of generations past their gate."""
        recorded = RecordedQuestions(self._store)
        for entry in recorded.expired(now, self._recorded):
            why = "recorded questions are not kept longer, or not so many"
            yield Removal("recorded questions", entry.path, entry.size, why)
        for number in needed.numbers:
            state = self._generations.state(number)
            if number in self._without_recorded or state in IN_PROGRESS:
                continue
            if not recorded.probed_with(number):
                self._without_recorded.add(number)
                continue
            for entry in probe_files(self._store, number):
                why = "recorded questions are among them, and the gate has decided"
                yield Removal("recorded questions", entry.path, entry.size, why)

    def _notes(self, needed: Needed) -> Iterator[Removal]:
        """Embedders' notes on work that is no longer needed."""
        about = {failure_file(each.output_file): each.snapshot for each in failures(self._store)}
        for output_file, snapshot in quarantined(self._store).items():
            about[quarantine_file(output_file)] = snapshot
        for folder in (REFUSED, QUARANTINE):
            for entry in self._store.entries(folder):
                settled, number = self._settled(entry), about.get(entry.path)
                if settled and number is not None and number not in needed.snapshots:
                    why = f"it is about snapshot {number}, which no index needs"
                    yield Removal("note", entry.path, entry.size, why)
        numbers = set(self._generations.numbers())
        for entry in self._store.entries(DAMAGED):
            name = entry.path.rpartition("/")[2].removesuffix(".json")
            if name.isdecimal() and int(name) < max(numbers) and int(name) not in numbers:
                yield Removal("note", entry.path, entry.size, "its generation is forgotten")

    def _collections(self, collections: Iterable[str]) -> Iterator[Removal]:
        """Those that the lifecycle will never drop: of no generation, or of one that is over."""
        numbers = set(self._generations.numbers())
        unknown = set(self._generations.set_aside())
        for name in collections:
            found = COLLECTION.fullmatch(name)
            if found is None:
                continue
            number = int(found.group(1))
            if number in numbers and self._generations.state(number) is not State.DELETED:
                continue
            if number in unknown:
                continue  # its manifest is damaged: perhaps it is mended
            if number in numbers or number < max(numbers):
                why = "no index is in it any more"
                yield Removal("collection", name, 0, why, Thing.COLLECTION)

    def _settled(self, entry: Entry) -> bool:
        return self._age(entry.path, entry.modified) > SETTLED_SECONDS
