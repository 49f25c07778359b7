"""Counts the points of what gateways search, and knows how many there should be.

How many is known when a collection is loaded, and kept with every step: so many passages more, so
many points of the same documents less. Used by the change applier's thread, the only one that
changes what is searched, so nothing it counts moves meanwhile. Memory: a few numbers a generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from realm.errors import NotFound
from realm.records.generation import Generation
from realm.search.vector_index import VectorIndex
from services.indexer.writes.replication import ReplicationState

#: One answer may come from a peer that lags: so many in a row must agree.
CONFIRMATIONS = 3
#: A pause is at least so many times as long as what comes before it.
PAUSE_SHARE = 20.0


@dataclass(slots=True)
class _Watched:
    mismatches: int = 0
    #: The count was right once: since then only the steps taken here have changed it.
    certain: bool = False
    stepped: bool = False
    #: A step that has begun: after, upto, and the points that its documents had before.
    begun: tuple[int, int, int] | None = None


@dataclass(slots=True)
class PointCounts:
    """Compares at most every few seconds. `missing` and `recount` are read by other threads.

    :param on_damage: called with a generation and what its collection has lost.
    """

    index: VectorIndex
    replication: ReplicationState
    pause_seconds: float
    on_damage: Callable[[int, str], None]
    clock: Callable[[], float] = time.monotonic
    _watched: dict[int, _Watched] = field(default_factory=dict, init=False)
    _next: float = field(default=0.0, init=False)
    #: Generations whose collection is not there, for certain.
    missing: frozenset[int] = field(default_factory=frozenset, init=False)
    #: One whose points are to be counted again from its files.
    recount: int | None = field(default=None, init=False)

    def before(
        self, generation: Generation, after: int, upto: int, documents: Sequence[str]
    ) -> int:
        """The points that a step's documents have before it; also if it is taken once more, having
        broken off half-way."""
        watched = self._of(generation.number)
        if watched.begun is not None and watched.begun[:2] == (after, upto):
            return watched.begun[2]
        if watched.begun is not None:
            watched.certain = False  # another step broke off: what it did is not known
        self._expect(generation, after)
        found = self.index.count_of(generation.collection, *documents) if documents else 0
        watched.begun = (after, upto, found)
        return found

    def done(self, number: int) -> None:
        """The step that was begun is recorded."""
        watched = self._of(number)
        watched.begun, watched.stepped = None, True

    def recounted(self, number: int) -> None:
        """What should be there is known from the files."""
        watched = self._of(number)
        watched.mismatches, watched.certain, self.recount = 0, True, None

    @property
    def in_doubt(self) -> bool:
        """Whether a count differs, and is to be confirmed soon."""
        return any(each.mismatches for each in self._watched.values())

    def compare(self, newest: int) -> None:
        """Compares live and the retained one, if it is time. `newest`: the corpus version.

        :raises DependencyUnavailable: if Qdrant does not answer.
        """
        if self.clock() < self._next:
            return
        began = self.clock()
        try:
            serving = self.replication.serving
            for number in set(self._watched) - {each.number for each in serving}:
                if number != self.replication.catching_up:
                    del self._watched[number]
            for generation in serving:
                self._compare(generation, newest)
        finally:
            cost = self.clock() - began
            self._next = self.clock() + max(self.pause_seconds, PAUSE_SHARE * cost)

    def _compare(self, generation: Generation, newest: int) -> None:
        number = generation.number
        watched = self._of(number)
        self._expect(generation, self.replication.applied(number) or 0)
        try:
            count = self.index.count(generation.collection)
        except NotFound:
            watched.mismatches += 1
            if watched.mismatches >= CONFIRMATIONS and not self.index.exists(generation.collection):
                self.missing |= {number}
                self.on_damage(number, "its collection is gone")
            return
        if watched.begun is not None:
            return  # half of a step is in it
        expected = self.replication.points(number)
        if count == expected:
            watched.mismatches, watched.certain = 0, True
            self._restore_mark(generation)
            return
        watched.mismatches += 1
        if watched.mismatches < CONFIRMATIONS:
            return
        if expected is not None and watched.certain:
            words = f"its collection has {count} points, its files {expected}"
            self.on_damage(number, words)
        elif watched.stepped or (self.replication.applied(number) or 0) >= newest:
            # A predecessor that was killed may have left half of a step, which is whole by now.
            self.recount = number

    def _expect(self, generation: Generation, version: int) -> None:
        """A leader that has marked nothing yet knows what its predecessors did."""
        if generation.marked:
            self.index.expect(generation.collection, version)

    def _restore_mark(self, generation: Generation) -> None:
        """Without it no answer claims any version, whatever the collection holds."""
        applied = self.replication.applied(generation.number) or 0
        if generation.marked and self.index.marked(generation.collection) < applied:
            self.index.mark(generation.collection, applied)

    def _of(self, number: int) -> _Watched:
        return self._watched.setdefault(number, _Watched())
