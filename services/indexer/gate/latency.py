"""Whether a search of the candidate's collection takes longer than the same question to live's.

Both are asked in turns, one question at a time as gateways do, so that whatever else the machine
does slows both alike. What counts is how many pairs are slower by more than a factor and a floor.
If the two were equal, a pair would be so at most every other time, however noisy the machine: the
sign test needs nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from realm.search.vector_index import Query
from services.indexer.gate.comparison import sign_test
from services.indexer.gate.probes import DEPTH

#: Pairs of searches in a burst.
PAIRS = 60
#: The first ones find cold caches, and do not count.
WARMING = 5
#: Differences below this are ignored, whatever the factor.
FLOOR_SECONDS = 0.01
#: Of a refusal by chance.
SIGNIFICANCE = 0.001


#: As `VectorIndex.search`: a collection, one query, how many passages.
Search = Callable[[str, Sequence[Query], int], object]


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """Medians in seconds; in `slower` of `pairs` the candidate took too long, by chance with p."""

    candidate: float
    live: float
    slower: int
    pairs: int
    p_value: float

    @property
    def refused(self) -> bool:
        return self.p_value < SIGNIFICANCE


def compare_latency(
    candidate: Sequence[float], live: Sequence[float], factor: float
) -> LatencyComparison:
    """Of paired searches, in seconds. Too long is more than `factor` times live's and the floor."""
    slower = sum(
        mine > factor * theirs + FLOOR_SECONDS for mine, theirs in zip(candidate, live, strict=True)
    )
    pairs = len(candidate)
    return LatencyComparison(
        median(candidate), median(live), slower, pairs, sign_test(slower, pairs - slower)
    )


def measure(
    search: Search,
    candidate: tuple[str, Sequence[Query]],
    live: tuple[str, Sequence[Query]],
    factor: float,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyComparison:
    """A burst: the same questions to two collections, each weighed by its own snapshot. Who is
    asked first changes with each pair.

    :raises DependencyUnavailable: if Qdrant does not answer.
    """
    questions = len(candidate[1])
    seconds: tuple[list[float], list[float]] = [], []
    for turn in range(WARMING + PAIRS):
        for side in (0, 1) if turn % 2 else (1, 0):
            collection, queries = (candidate, live)[side]
            row = turn % questions
            began = clock()
            search(collection, queries[row : row + 1], DEPTH)
            seconds[side].append(clock() - began)
    return compare_latency(seconds[0][WARMING:], seconds[1][WARMING:], factor)
