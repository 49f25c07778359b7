"""The record of every request, and what follows from all of them together."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.load.ledger import Sighting
from bench.load.schedule import Kind

READS = frozenset({Kind.SEARCH, Kind.ANSWER})
WRITES = frozenset({Kind.UPSERT, Kind.DELETE})


@dataclass(frozen=True, slots=True)
class Origin:
    """The version that a response says it comes from."""

    generation: int
    snapshot: int
    step: int
    corpus_version: int


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are Unix times; `fault` says what was wrong with the answer, if anything.

    :param passages: (document id, document version) of each passage of the response.
    """

    kind: Kind
    gateway: int
    due: float
    sent: float
    done: float
    failed: str = ""
    fault: str = ""
    origin: Origin | None = None
    passages: tuple[tuple[str, int], ...] = ()

    @property
    def latency(self) -> float:
        """From when it was due: a load generator that is late is late for its user too."""
        return self.done - self.due


def sightings(records: Iterable[RequestRecord]) -> list[Sighting]:
    return [
        Sighting(document_id, version, record.origin.corpus_version)
        for record in records
        if record.origin
        for document_id, version in record.passages
    ]


def went_back(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    """Answers older than one that the same gateway had given before these were asked for.

    Older means a lower generation or a lower corpus version: without rollbacks neither may fall.
    """
    found: list[RequestRecord] = []
    for gateway in sorted({record.gateway for record in records}):
        mine = [record for record in records if record.gateway == gateway and record.origin]
        found += _went_back(sorted(mine, key=lambda record: record.sent))
    return found


def _went_back(by_sent: list[RequestRecord]) -> list[RequestRecord]:
    found: list[RequestRecord] = []
    in_flight: list[tuple[float, int]] = []
    generation = corpus_version = 0
    for place, record in enumerate(by_sent):
        while in_flight and in_flight[0][0] < record.sent:
            before = by_sent[heapq.heappop(in_flight)[1]].origin
            assert before
            generation = max(generation, before.generation)
            corpus_version = max(corpus_version, before.corpus_version)
        assert record.origin
        if record.origin.generation < generation or record.origin.corpus_version < corpus_version:
            found.append(record)
        heapq.heappush(in_flight, (record.done, place))
    return found


def windows(
    records: Iterable[RequestRecord], moments: Sequence[float], seconds: float
) -> list[list[float]]:
    """Latencies of the reads that were due within `seconds` around each moment.

    A request belongs to the first window that holds it.
    """
    found: list[list[float]] = [[] for _ in moments]
    for record in records:
        if record.kind not in READS or record.failed:
            continue
        for place, moment in enumerate(moments):
            if abs(record.due - moment) <= seconds / 2:
                found[place].append(record.latency)
                break
    return found
