"""One generation: its manifest, its events, and the entries of `live/` that name it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from realm.records.snapshots import Lag, Snapshot, lag_behind
from realm.records.states import OUTCOMES, State
from realm.records.weighing import Weighing

#: The generation of an entry that fences when nothing is live yet.
NOTHING = 0
#: k₁ of releases that did not note it.
FIRST_K1 = 1.2


@dataclass(frozen=True, slots=True)
class Generation:
    """A manifest. `passage_files` holds one file a shard; `created_at` is Unix time, for people.

    `average_terms` and `k1` weigh its passages' terms, fixed for the generation's life so that all
    its upserts agree; an average of 0 is one made before collections had BM25.
    `word_statistics` is the file of what its questions are weighed by; empty for one of an earlier
    release, whose collection weighs them by itself. `forced` says
    who wants it live whatever the gate thinks of its quality, and why; empty: no one. `heals` is
    the damaged generation that it is to replace, of the same snapshot; 0: none. `ranges` says that
    its passages carry their metadata's numbers and dates; those of an earlier release do not.
    `vector_size` is 0 for one of words alone: its passages have no vectors. `marked` says that its
    collection notes the corpus version applied to it, by which each copy of it proves its own.
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
    #: Of the leader that began it; see `realm.records.leaders`.
    term: int = 0
    average_terms: float = 0.0
    forced: str = ""
    #: The newest request for a refresh when it was begun.
    request: int = 0
    #: The turn of what was live then, which it is to replace (0: nothing was); None: of a release
    #: that did not note it.
    replaces: int | None = None
    heals: int = 0
    word_statistics: str = ""
    ranges: bool = False
    k1: float = FIRST_K1
    marked: bool = False

    @property
    def words_alone(self) -> bool:
        return not self.vector_size

    @property
    def is_refresh(self) -> bool:
        """Whether it brings vectors of its snapshot live, and not words or what was live."""
        return not (self.words_alone or self.heals)

    def lag(self, published: Iterable[Snapshot]) -> Lag:
        """That of words alone is the lag of an index that has nothing of any snapshot.

        :param published: snapshots in the order of their numbers.
        """
        if self.words_alone:
            return lag_behind(published, 0, 0)
        return lag_behind(published, self.snapshot, self.step)

    @property
    def weighing(self) -> Weighing:
        return Weighing(self.average_terms, self.k1)

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
    it went live; a leader that takes over repeats them, with `by` and `term` of its own.
    `request_id` names the rollback that asked for it, if one did."""

    sequence: int
    generation: int
    at: float
    by: str
    why: str
    #: Of the leader that put it: an earlier leader puts none after it.
    term: int = 0
    request_id: str = ""


def outcome(events: Sequence[Event]) -> Event | None:
    """How a refresh ended, by its generation's events: live, rejected or abandoned."""
    return next((event for event in events if event.state in OUTCOMES), None)


def generation_folder(number: int) -> str:
    return f"generations/{number:08d}"


def pieces_folder(number: int) -> str:
    """Of what is embedded for a generation piece by piece; it is taken back when not needed."""
    return f"{generation_folder(number)}/pieces"


def collection_name(number: int) -> str:
    return f"passages-{number:08d}"
