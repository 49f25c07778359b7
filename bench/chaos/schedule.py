"""When which fault begins: a function of the seed and of the kinds alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from bench.chaos.faults.kinds import FaultKind, LastingFault


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """`at` in seconds from the beginning; `seconds` is how long it lasts, 0 for a single act;
    `draw` in [0, 1) decides the target."""

    at: float
    kind: str
    seconds: float
    draw: float


def fault_schedule(
    kinds: Mapping[str, type[FaultKind]],
    seed: int,
    seconds: float,
    mean: float,
    longest: float,
    least: int = 0,
) -> list[PlannedFault]:
    """A fault every `mean` seconds on average, at random times; more if that is too few.

    :param longest: the longest that a fault may last.
    :param least: how often each kind comes at the least.
    """
    rng = random.Random(seed)
    names, weights = list(kinds), [kind.weight for kind in kinds.values()]
    drawn = least * names
    drawn += rng.choices(names, weights, k=max(0, round(seconds / mean) - len(drawn)))
    rng.shuffle(drawn)
    times = sorted(rng.uniform(0.0, seconds) for _ in drawn)
    return [
        PlannedFault(at, name, _length(kinds[name], rng, longest), rng.random())
        for at, name in zip(times, drawn, strict=True)
    ]


def _length(kind: type[FaultKind], rng: random.Random, longest: float) -> float:
    draw = rng.random()
    if not issubclass(kind, LastingFault):
        return 0.0
    low, high = (min(each, longest) for each in kind.lasts)
    return low + draw * (high - low)
