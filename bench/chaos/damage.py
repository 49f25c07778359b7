"""Points that live lost: when the indexer noticed, and when another generation replaced it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.chaos.faults.kinds import Fault
from realm.errors import Corrupt, NotFound
from realm.records.controls import DAMAGED
from realm.records.generations import LiveEntry
from realm.records.store import Store

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


def damages(faults: Iterable[Fault], history: Sequence[LiveEntry], store: Store) -> list[Damage]:
    found = []
    for fault in (each for each in faults if each.effects.generation):
        number = fault.effects.generation
        others = (e.at for e in history if e.at > fault.began and e.generation != number)
        replaced = min(others, default=NEVER)
        found.append(Damage(number, fault.began, _noticed(store, number), replaced))
    return found


def _noticed(store: Store, generation: int) -> float:
    try:
        return float(store.read_json(f"{DAMAGED}/{generation:08d}.json")["at"])
    except (Corrupt, NotFound):  # a fault may have hit the note too
        return NEVER
