"""The schedule of an open loop: fixed rates, decided before the first request is sent."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.history.events import Kind


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """`at` in seconds from the beginning; `number` counts the requests of a kind."""

    at: float
    kind: Kind
    number: int


def schedule(rates: Mapping[Kind, float], seconds: float) -> Iterator[Due]:
    """Every request of `seconds`, in order of time; each kind evenly, none at the same moment.

    :param rates: requests a second by kind.
    """
    lanes = [
        _lane(kind, rate, seconds, (place + 0.5) / len(rates))
        for place, (kind, rate) in enumerate(rates.items())
        if rate > 0
    ]
    return heapq.merge(*lanes)


def _lane(kind: Kind, rate: float, seconds: float, phase: float) -> Iterator[Due]:
    number = 0
    while (at := (number + phase) / rate) < seconds:
        yield Due(at, kind, number)
        number += 1
