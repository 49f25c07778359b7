"""Points that live lost: when the indexer noticed, when another generation replaced it, and which
failures are excused meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.chaos.faults.kinds import Fault
from bench.load.requests import RequestRecord
from realm.errors import NotFound
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

    def excuses(self, record: RequestRecord) -> bool:
        """Whether the damage excuses that the request failed or found too little: a damaged
        generation may answer, but claims no corpus version once the damage is known."""
        if record.done < self.began or record.sent > self.replaced + LATE_SECONDS:
            return False
        if record.origin is None:
            return bool(record.failed)
        if record.origin.generation != self.generation:
            return False
        return record.sent <= self.noticed + LATE_SECONDS or not record.origin.corpus_version


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
    except NotFound:
        return NEVER
