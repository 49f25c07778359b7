"""The input builder of each snapshot, from its two small files; torch-free."""

from __future__ import annotations

import threading

from realm.model.config import ModelConfig
from realm.model.inputs import InputBuilder
from realm.records.snapshots import Snapshot, Snapshots

FILES = ("config.json", "tokenizer.json")


class SnapshotInputs:
    """Reads each snapshot's builder once; builders of one fingerprint are shared. Thread-safe."""

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
        folder = self._snapshots.materialise(snapshot, FILES)
        config = ModelConfig.from_json((folder / "config.json").read_bytes())
        return InputBuilder.from_folder(folder, config.lengths)
