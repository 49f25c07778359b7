"""Files that the cluster makes again are damaged and deleted."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.chaos.faults.damaging import damage, flip_bit, lose
from bench.chaos.faults.kinds import Effects, FaultKind
from realm.records.states import ACTIVE, IN_PROGRESS
from realm.records.vectors import vector_file

#: Of each folder of changes and of deltas.
NEWEST = 3


class FileFault(FaultKind):
    """Of files that the cluster makes again."""

    def shards(self) -> list[str]:
        """Passages and vectors of every active generation."""
        found = []
        for number in self.scene.numbers(ACTIVE):
            generation = self.scene.generations.get(number)
            name = self.scene.snapshots.get(generation.snapshot).name
            found += list(generation.passage_files)
            found += [vector_file(name, each) for each in generation.passage_files]
        return [each for each in found if self.scene.store.exists(each)]

    def changes(self) -> list[str]:
        """The newest changes files and deltas of every active generation."""
        store, found = self.scene.store, []
        for number in self.scene.numbers(ACTIVE):
            generation = self.scene.generations.get(number)
            found += store.files(f"{generation.folder}/deltas")[-NEWEST:]
            found += store.files(f"passages/{generation.fingerprint}/changes")[-NEWEST:]
        return found

    def unserved_snapshots(self) -> list[str]:
        """Files of snapshots whose index is being built."""
        found = []
        for number in self.scene.numbers(IN_PROGRESS):
            snapshot = self.scene.snapshots.get(self.scene.generations.get(number).snapshot)
            found += self.scene.store.files(snapshot.folder)
        return [each for each in found if not each.endswith("manifest.json")]


class Corrupt(FileFault, name="corrupt", weight=12):
    """Flips a bit of vectors, passages, deltas, or a snapshot that is not served yet."""

    def targets(self) -> Sequence[str]:
        return [*self.shards(), *self.changes(), *self.unserved_snapshots()]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = damage(self.scene.store, target, rng, flip_bit)
        return Effects(paths=frozenset({target})) if hit else None


class Delete(FileFault, name="delete", weight=6):
    """Deletes a shard's passages or vectors, changes or a delta."""

    def targets(self) -> Sequence[str]:
        return [*self.shards(), *self.changes()]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = damage(self.scene.store, target, rng, lose)
        return Effects(paths=frozenset({target})) if hit else None
