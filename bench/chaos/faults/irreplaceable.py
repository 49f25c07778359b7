"""Files are damaged that the cluster cannot make again: the corpus table is the only copy of what
users wrote, a snapshot of what was learned. It must say so and answer nothing wrong, until the
bench restores the file as an operator does from a backup."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.chaos.faults.damaging import cut, damage, flip_bit, lose
from bench.chaos.faults.kinds import Effects, LastingFault
from bench.chaos.scene import Scene
from realm.corpus.data_files import FOLDER
from realm.corpus.delta_log import LOG
from realm.errors import NotFound

NEWEST = 20


class IrreplaceableFault(LastingFault):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._backups: dict[str, bytes] = {}

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        try:
            self._backups[target] = self.scene.store.read(target)
        except NotFound:
            return None
        hit = damage(self.scene.store, target, rng, flip_bit, cut, lose)
        return Effects(paths=frozenset({target})) if hit else None

    def end(self, target: str) -> None:
        self.scene.store.write(target, self._backups[target])


class DamageRows(IrreplaceableFault, name="damage_rows", weight=3, lasts=(10.0, 40.0)):
    """A data file of the table."""

    def targets(self) -> Sequence[str]:
        found = self.scene.store.files(FOLDER)
        return [path for path in found if path.endswith(".parquet") and f"{LOG}/" not in path]


class DamageLog(IrreplaceableFault, name="damage_log", weight=3, lasts=(10.0, 40.0)):
    """A late entry or checkpoint of the table's log."""

    def targets(self) -> Sequence[str]:
        return sorted(self.scene.store.files(LOG))[-NEWEST:]


class DamageSnapshot(IrreplaceableFault, name="damage_snapshot", weight=3, lasts=(10.0, 40.0)):
    """Of the live generation: those that have loaded it keep it."""

    def targets(self) -> Sequence[str]:
        if (live := self.scene.generations.live()) is None:
            return []
        number = self.scene.generations.get(live.generation).snapshot
        return self.scene.store.files(self.scene.snapshots.get(number).folder)
