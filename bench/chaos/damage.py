"""What live lost: when that was noticed, when another took its place, what is excused meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.chaos.faults import Done, Kind
from bench.swap.visits import Visit
from realm.errors import NotFound
from realm.records.damage import FOLDER
from realm.records.generations import LiveEntry
from realm.records.store import Store

#: A gateway looks so often at the store, and may be stopped or slow to flip.
LATE_SECONDS = 10.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Damage:
    """Of a generation that was live. Unix times; NEVER if it did not come."""

    generation: int
    began: float
    noticed: float
    replaced: float

    def excuses(self, visit: Visit) -> bool:
        """Whether it is no fault of anybody's that the visit failed or found too little: what is
        damaged may answer, but claims nothing any more as soon as that is known."""
        if visit.done < self.began or visit.sent > self.replaced + LATE_SECONDS:
            return False
        if visit.origin is None:
            return bool(visit.failed)
        if visit.origin.generation != self.generation:
            return False
        return visit.sent <= self.noticed + LATE_SECONDS or not visit.origin.corpus_version


def lossy(faults: Iterable[Done]) -> set[int]:
    """Generations whose collections lost something."""
    kinds = (Kind.LOSE_COLLECTION, Kind.LOSE_POINTS)
    return {int(fault.target) for fault in faults if fault.kind in kinds}


def damages(faults: Iterable[Done], history: Sequence[LiveEntry], store: Store) -> list[Damage]:
    found = []
    for fault in faults:
        if fault.kind not in (Kind.LOSE_COLLECTION, Kind.LOSE_POINTS):
            continue
        number = int(fault.target)
        others = (e.at for e in history if e.at > fault.began and e.generation != number)
        replaced = min(others, default=NEVER)
        found.append(Damage(number, fault.began, _noticed(store, number), replaced))
    return found


def _noticed(store: Store, generation: int) -> float:
    try:
        return float(store.read_json(f"{FOLDER}/{generation:08d}.json")["at"])
    except NotFound:
        return NEVER
