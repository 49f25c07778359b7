"""Every write of a history by document: at which corpus version each took place, as far as known.

An acknowledged write has its version. One whose fate is unknown has that at which it was seen;
unseen, it may have taken place at any version that was still to come when it was sent, or never.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from bench.history.events import WRITES, Outcome, Seen
from bench.history.history import Operation


@dataclass(frozen=True, slots=True)
class Write:
    """Of one document. `revision` is None for a deletion, `version` for an unknown fate; `floor` is
    the newest corpus version that was acknowledged before it was sent."""

    document: str
    revision: int | None
    version: int | None
    floor: int
    sent: float
    operation: int


@dataclass(frozen=True, slots=True)
class Certain:
    """A write that took place."""

    version: int
    revision: int | None
    sent: float


class Clock:
    """Which corpus versions there were at a moment, by acknowledged writes."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        acknowledged = [each for each in operations if each.kind in WRITES and each.ok]
        by_end = sorted((each.done, each.ended.version) for each in acknowledged)
        by_begin = sorted((each.began, each.ended.version) for each in acknowledged)
        self._ends = [at for at, _ in by_end]
        self._floors = list(accumulate((version for _, version in by_end), max))
        self._begins = [at for at, _ in by_begin]
        self._ceilings = [*accumulate((version for _, version in reversed(by_begin)), min)][::-1]

    @property
    def newest(self) -> int:
        return self._floors[-1] if self._floors else 0

    def floor(self, at: float) -> int:
        """The newest version acknowledged before that moment."""
        place = bisect_left(self._ends, at)
        return self._floors[place - 1] if place else 0

    def ceiling(self, at: float) -> int | None:
        """The newest version that there could be at that moment: older than that of any write sent
        later; None if none was."""
        place = bisect_right(self._begins, at)
        return self._ceilings[place] - 1 if place < len(self._ceilings) else None


class Writes:
    """`certain` in the order of their versions, `maybe` unseen; each by document."""

    def __init__(self, operations: Sequence[Operation], seen: Iterable[Seen]) -> None:
        self.clock = Clock(operations)
        self.by_document: dict[str, list[Write]] = defaultdict(list)
        for each in operations:
            if each.kind in WRITES and each.outcome is not Outcome.FAILED:
                version = each.ended.version if each.ok else None
                floor = self.clock.floor(each.began)
                for asked in each.asked:
                    self.by_document[asked.document].append(
                        Write(asked.document, asked.number, version, floor, each.began, each.number)
                    )
        #: The version at which each text was seen first, of those that could be there.
        self.sighted: dict[tuple[str, int], int] = {}
        for one in seen:
            write = self.writing(one.document, one.revision)
            if write is not None and write.version is None and one.version > write.floor:
                self.sighted.setdefault((one.document, one.revision), one.version)
        self.certain = {each: self._certain(each) for each in self.by_document}
        self.maybe = {each: self._maybe(each) for each in self.by_document}

    def writing(self, document: str, revision: int) -> Write | None:
        """What wrote that text."""
        for each in self.by_document.get(document, ()):
            if each.revision == revision:
                return each
        return None

    def version_of(self, write: Write) -> int | None:
        """None if it is unknown whether and when it took place."""
        if write.version is not None or write.revision is None:
            return write.version
        return self.sighted.get((write.document, write.revision))

    def _certain(self, document: str) -> list[Certain]:
        found = [
            Certain(version, each.revision, each.sent)
            for each in self.by_document[document]
            if (version := self.version_of(each)) is not None
        ]
        return sorted(found, key=lambda each: each.version)

    def _maybe(self, document: str) -> list[Write]:
        return [each for each in self.by_document[document] if self.version_of(each) is None]
