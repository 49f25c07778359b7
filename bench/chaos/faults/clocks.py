"""Wall clocks of single processes are wrong, and jump while they run."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.apparatus.apparatus import Part
from bench.apparatus.clocks import Clocks
from bench.chaos.faults.kinds import Effects, FaultKind, LastingFault

MOST_SECONDS = 600.0


class ClockFault(FaultKind):
    needs = Part.CLOCKS

    @property
    def clocks(self) -> Clocks:
        assert self.scene.cluster.apparatus.clocks
        return self.scene.cluster.apparatus.clocks

    def targets(self) -> Sequence[str]:
        return self.scene.mostly_leader(self.clocks.names)

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        self.clocks.set(target, rng.uniform(-MOST_SECONDS, MOST_SECONDS))
        return Effects()


class ClockJump(ClockFault, name="clock_jump", weight=4):
    """Ahead or back by up to ten minutes, and wrong from then on."""


class ClockSkew(ClockFault, LastingFault, name="clock_skew", weight=4, lasts=(10.0, 60.0)):
    """Wrong by up to ten minutes, then right again: two jumps."""

    def end(self, target: str) -> None:
        self.clocks.set(target, 0.0)
