"""Points that live lost: when the indexer noticed, when another generation replaced it, and which
failures are excused meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.chaos.faults.kinds import Fault
from bench.history.events import Excuse
from bench.history.promises import Promise
from realm.corpus.data_files import FOLDER as CORPUS
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


def damage_excuses(damages: Iterable[Damage]) -> list[Excuse]:
    """A damaged generation may lack something until the damage is noticed: from then on it claims
    no corpus version. Requests that need one may fail until another generation is live."""
    found = []
    for each in damages:
        noticed = None if each.noticed == NEVER else each.noticed + LATE_SECONDS
        replaced = None if each.replaced == NEVER else each.replaced + LATE_SECONDS
        why = f"generation {each.generation} had lost something"
        found += [
            Excuse(Promise.WHOLE, each.began, noticed, why, generation=each.generation),
            Excuse(Promise.AVAILABLE, each.began, replaced, why),
        ]
    return found


def corpus_excuses(faults: Iterable[Fault]) -> list[Excuse]:
    """While the corpus table is damaged nothing can be written, or read that was written last."""
    return [
        Excuse(
            Promise.AVAILABLE,
            each.began,
            each.ended + LATE_SECONDS,
            "the corpus table was damaged",
            writes=True,
        )
        for each in faults
        if any(path.startswith(f"{CORPUS}/") for path in each.effects.paths)
    ]


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
