"""What the indexer's parts share: the records in its store, each opened once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from realm.corpus.parked import ParkedDocuments
from realm.model.config import ModelConfig
from realm.model.inputs import InputBuilder
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store

INPUT_FILES = ("config.json", "tokenizer.json")


class SnapshotInputs:
    """The input builder of each snapshot, read once; needs no torch. Thread-safe.

    Snapshots of one fingerprint share a builder.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._by_fingerprint: dict[str, InputBuilder] = {}
        self._lock = threading.Lock()

    def of(self, number: int) -> InputBuilder:
        """:raises NotFound: if there is no such snapshot.
        :raises Corrupt: if its files are damaged.
        """
        snapshot = self._snapshots.get(number)
        with self._lock:
            if snapshot.fingerprint not in self._by_fingerprint:
                self._by_fingerprint[snapshot.fingerprint] = self._read(snapshot)
            return self._by_fingerprint[snapshot.fingerprint]

    def _read(self, snapshot: Snapshot) -> InputBuilder:
        folder = self._snapshots.materialise(snapshot, INPUT_FILES)
        config = ModelConfig.from_json((folder / "config.json").read_bytes())
        return InputBuilder.from_folder(folder, config.lengths)


@dataclass(frozen=True, slots=True)
class Records:
    """A store and what lies in it."""

    store: Store
    snapshots: Snapshots
    generations: Generations
    controls: Controls
    parked: ParkedDocuments
    inputs: SnapshotInputs

    @classmethod
    def of(cls, store: Store) -> Records:
        snapshots = Snapshots(store)
        return cls(
            store,
            snapshots,
            Generations(store),
            Controls(store),
            ParkedDocuments(store),
            SnapshotInputs(snapshots),
        )
