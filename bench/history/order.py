"""Whether a client saw something older after something newer."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from bench.history.events import WRITES, Turn
from bench.history.history import Operation


def went_back(
    operations: Sequence[Operation], turns: Sequence[Turn]
) -> list[tuple[Operation, str]]:
    """Answers older than one that the same client had got before it asked: through one gateway, in
    corpus version or generation; of a session also through another gateway, in corpus version."""
    found = []
    for mine in _by(operations, lambda each: (each.sent.client, each.gateway)):
        found += _fell(mine, _claim, "corpus version")
        found += _turned_back(mine, turns)
    sessions = [each for each in operations if each.sent.session]
    for mine in _by(sessions, lambda each: (each.sent.client, 0)):
        found += _fell(mine, _known, "corpus version, over gateways")
    return list({each.number: (each, what) for each, what in found}.values())


def _by(
    operations: Iterable[Operation], key: Callable[[Operation], tuple[str, int]]
) -> Iterable[list[Operation]]:
    groups: dict[tuple[str, int], list[Operation]] = {}
    for each in sorted(operations, key=lambda each: each.began):
        if each.ok:
            groups.setdefault(key(each), []).append(each)
    return groups.values()


def _claim(each: Operation) -> int:
    """0 where it claims none: then it claims nothing that could be older."""
    return each.origin.corpus_version if each.origin else 0


def _known(each: Operation) -> int:
    """A session knows of its own writes too."""
    return each.ended.version if each.kind in WRITES else _claim(each)


def _fell(
    by_begin: Iterable[Operation], value: Callable[[Operation], int], name: str
) -> list[tuple[Operation, str]]:
    found, newest = [], 0
    in_flight: list[tuple[float, int, int]] = []
    for each in by_begin:
        while in_flight and in_flight[0][0] < each.began:
            newest = max(newest, heapq.heappop(in_flight)[2])
        mine = value(each)
        if mine and mine < newest and each.kind not in WRITES:
            found.append((each, f"{name} {mine} after {newest}"))
        heapq.heappush(in_flight, (each.done, each.number, mine))
    return found


def _turned_back(
    by_begin: Iterable[Operation], turns: Sequence[Turn]
) -> list[tuple[Operation, str]]:
    """A rollback makes an earlier generation live again: so each answer counts as of the earliest
    turn that it can be of, not before the one that was known when it was asked for."""
    places: dict[int, list[int]] = {}
    for place, turn in enumerate(turns):
        places.setdefault(turn.generation, []).append(place)
    found, newest = [], 0
    in_flight: list[tuple[float, int, int]] = []
    for each in by_begin:
        while in_flight and in_flight[0][0] < each.began:
            newest = max(newest, heapq.heappop(in_flight)[2])
        if each.origin is None or each.origin.generation not in places:
            continue
        mine = places[each.origin.generation]
        at = bisect_left(mine, newest)
        if at == len(mine):
            known = turns[newest].generation
            found.append((each, f"generation {each.origin.generation} after {known}"))
            continue
        heapq.heappush(in_flight, (each.done, each.number, mine[at]))
    return found
