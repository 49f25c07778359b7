"""What every request came back with, and what follows from all of them together: pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.swap.ledger import Sighting
from bench.swap.schedule import Kind

READS = frozenset({Kind.SEARCH, Kind.ANSWER})


@dataclass(frozen=True, slots=True)
class Origin:
    """What a response said that it came from."""

    generation: int
    snapshot: int
    step: int
    corpus_version: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. Times are Unix times; `fault` is what was wrong with the answer, if anything."""

    kind: Kind
    gateway: int
    due: float
    sent: float
    done: float
    failed: str = ""
    fault: str = ""
    origin: Origin | None = None
    #: (document id, document version) of each passage.
    passages: tuple[tuple[str, int], ...] = ()

    @property
    def latency(self) -> float:
        """From when it was due: a client that is late is late for its user too."""
        return self.done - self.due


def sightings(visits: Iterable[Visit]) -> list[Sighting]:
    return [
        Sighting(document_id, version, visit.origin.corpus_version)
        for visit in visits
        if visit.origin
        for document_id, version in visit.passages
    ]


def went_back(visits: Sequence[Visit]) -> list[Visit]:
    """Answers older than one that the same gateway had given before they were even asked for.

    Older is a lower generation or a lower corpus version; without rollbacks neither may be.
    """
    found: list[Visit] = []
    for gateway in sorted({visit.gateway for visit in visits}):
        mine = sorted(
            (visit for visit in visits if visit.gateway == gateway and visit.origin),
            key=lambda visit: visit.sent,
        )
        found += _went_back(mine)
    return found


def _went_back(by_sent: list[Visit]) -> list[Visit]:
    found: list[Visit] = []
    under_way: list[tuple[float, int]] = []
    generation = corpus_version = 0
    for place, visit in enumerate(by_sent):
        while under_way and under_way[0][0] < visit.sent:
            before = by_sent[heapq.heappop(under_way)[1]].origin
            assert before
            generation = max(generation, before.generation)
            corpus_version = max(corpus_version, before.corpus_version)
        assert visit.origin
        if visit.origin.generation < generation or visit.origin.corpus_version < corpus_version:
            found.append(visit)
        heapq.heappush(under_way, (visit.done, place))
    return found


def windows(
    visits: Iterable[Visit], moments: Sequence[float], seconds: float, kinds: frozenset[Kind]
) -> list[list[float]]:
    """Latencies of the requests that were due within `seconds` around each moment.

    A request belongs to the first window that holds it.
    """
    found: list[list[float]] = [[] for _ in moments]
    for visit in visits:
        if visit.kind not in kinds or visit.failed:
            continue
        for place, moment in enumerate(moments):
            if abs(visit.due - moment) <= seconds / 2:
                found[place].append(visit.latency)
                break
    return found
