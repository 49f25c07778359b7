"""What happens at which step: pure functions of seed and step, so that a restart repeats them."""

from __future__ import annotations

import random
from dataclasses import dataclass


def chance(seed: int, step: int, about: str) -> random.Random:
    """The randomness of one step: no generator lives on, so none has to be saved."""
    return random.Random(f"{seed}:{step}:{about}")


@dataclass(slots=True)
class Cadence:
    """Something due every so many steps, and no two within so many seconds.

    :param last_step: when it last happened.
    """

    every_steps: int
    min_seconds: float
    last_step: int
    last_time: float

    def due(self, step: int, now: float) -> bool:
        """`now` in seconds of a clock that never goes back."""
        return step - self.last_step >= self.every_steps and self.rested(now)

    def rested(self, now: float) -> bool:
        """Whether enough seconds have passed since the last time."""
        return now - self.last_time >= self.min_seconds

    def happened(self, step: int, now: float) -> None:
        self.last_step, self.last_time = step, now
