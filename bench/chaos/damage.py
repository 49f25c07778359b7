"""Points that live lost: when the indexer noticed, and when another generation replaced it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.chaos.faults.kinds import Fault
from realm.records.generation import LiveEntry

#: A gateway polls the store, and may be stopped or slow to flip.
LATE_SECONDS = 10.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Damage:
    """Of a generation that was live. Unix times; NEVER if it did not come."""

    generation: int
    began: float
    noticed: float
    replaced: float


def lossy(faults: Iterable[Fault]) -> set[int]:
    """Generations whose collections lost something."""
    return {fault.effects.generation for fault in faults} - {0}


def damages(
    faults: Iterable[Fault], history: Sequence[LiveEntry], noticed: Mapping[int, float]
) -> list[Damage]:
    """:param history: `at` is when the bench first saw it.
    :param noticed: when the bench first saw the note, by generation.
    """
    found = []
    for fault in (each for each in faults if each.effects.generation):
        number = fault.effects.generation
        others = (e.at for e in history if e.at > fault.began and e.generation != number)
        replaced = min(others, default=NEVER)
        found.append(Damage(number, fault.began, noticed.get(number, NEVER), replaced))
    return found
