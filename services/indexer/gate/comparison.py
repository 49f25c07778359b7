"""Paired comparisons of a candidate with what is live, over the same questions."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a figure fell, and the sign test's p of so many losses."""

    fall: float
    p_value: float

    def refused(self, tolerance: float, significance: float = SIGNIFICANCE) -> bool:
        return self.fall > tolerance and self.p_value < significance


def sign_test(losses: int, wins: int) -> float:
    """P(at least so many losses), if losses and wins were equally likely (exact McNemar)."""
    trials = losses + wins
    worse: int = sum(math.comb(trials, count) for count in range(losses, trials + 1))
    return worse / 2.0**trials
