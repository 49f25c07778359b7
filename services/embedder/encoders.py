"""The encoders of the snapshots in use, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    TOKENIZER_FILE,
    ServingEncoder,
    load_passage_encoder,
    load_query_encoder,
)
from realm.records.snapshots import Snapshot, Snapshots

COMMON_FILES = (CONFIG_FILE, TOKENIZER_FILE)


@dataclass(slots=True)
class _Towers:
    step: int
    passage: ServingEncoder
    query: ServingEncoder | None = None


class Encoders:
    """Loads a snapshot's towers when they are first asked for, checksums verified.

    Beyond `keep` snapshots the one that was not asked for longest goes.
    """

    def __init__(self, snapshots: Snapshots, device: torch.device, keep: int) -> None:
        self._snapshots = snapshots
        self._device = device
        self._keep = keep
        self._loaded: dict[int, _Towers] = {}  # least recently used first

    @property
    def loaded(self) -> list[int]:
        """Numbers of the snapshots in memory, least recently used first."""
        return list(self._loaded)

    @property
    def newest_step(self) -> int:
        """The training step of the newest snapshot in memory; 0 if there is none."""
        return self._loaded[max(self._loaded)].step if self._loaded else 0

    def passage(self, snapshot: Snapshot) -> ServingEncoder:
        """:raises Corrupt: if a file of the snapshot is missing or altered."""
        return self._towers(snapshot).passage

    def query(self, snapshot: Snapshot) -> ServingEncoder:
        """The passage encoder itself where the towers share their weights.

        :raises Corrupt: if a file of the snapshot is missing or altered.
        """
        towers = self._towers(snapshot)
        if towers.passage.config.shared_towers:
            return towers.passage
        if towers.query is None:
            folder = self._snapshots.materialise(snapshot, (*COMMON_FILES, QUERY_ENCODER_FILE))
            towers.query = self._placed(load_query_encoder(folder))
        return towers.query

    def _towers(self, snapshot: Snapshot) -> _Towers:
        towers = self._loaded.pop(snapshot.number, None)
        if towers is None:
            folder = self._snapshots.materialise(snapshot, (*COMMON_FILES, PASSAGE_ENCODER_FILE))
            # Room first: the device may not hold one more than are kept.
            while len(self._loaded) >= self._keep:
                del self._loaded[next(iter(self._loaded))]
            towers = _Towers(snapshot.step, self._placed(load_passage_encoder(folder)))
        self._loaded[snapshot.number] = towers
        return towers

    def _placed(self, loaded: ServingEncoder) -> ServingEncoder:
        loaded.encoder.to(self._device)
        return loaded
