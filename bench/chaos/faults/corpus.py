"""The corpus table is damaged. It is the only copy of what users wrote, so nothing can heal it: the
cluster must say so and answer nothing wrong, until the bench restores the file as an operator does
from a backup."""

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


class CorpusFault(LastingFault):
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
        self.scene.store.write(target, self._backups.pop(target))


class DamageRows(CorpusFault, name="damage_rows", weight=3, lasts=(10.0, 40.0)):
    """A data file of the table."""

    def targets(self) -> Sequence[str]:
        found = self.scene.store.files(FOLDER)
        return [path for path in found if path.endswith(".parquet") and f"{LOG}/" not in path]


class DamageLog(CorpusFault, name="damage_log", weight=3, lasts=(10.0, 40.0)):
    """A late entry or checkpoint of the table's log."""

    def targets(self) -> Sequence[str]:
        return sorted(self.scene.store.files(LOG))[-NEWEST:]
