"""Qdrant's disk is full for a while."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.apparatus.apparatus import Part
from bench.chaos.faults.kinds import Effects, LastingFault
from services.standalone.qdrant_edge.shard import ROOM_BYTES

DISK = "qdrant's disk"


class FullQdrant(LastingFault, name="full_qdrant", weight=3, lasts=(5.0, 40.0)):
    """What is left is too little for a write, and enough for what goes on inside Qdrant."""

    needs = Part.DISK

    def targets(self) -> Sequence[str]:
        return [DISK]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        assert self.scene.cluster.apparatus.disk
        self.scene.cluster.apparatus.disk.fill(free=ROOM_BYTES // 2)
        return Effects(processes=frozenset({DISK}))

    def end(self, target: str) -> None:
        assert self.scene.cluster.apparatus.disk
        self.scene.cluster.apparatus.disk.empty()
