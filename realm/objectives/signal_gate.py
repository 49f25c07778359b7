"""A gate that keeps the retriever from learning from an untrained head."""

from __future__ import annotations

import math

#: Standard errors. Noise is tested at every step: within 500 it passes in fewer than 1% of runs.
SIGNIFICANT = 4.0


class SignalGate:
    """Opens once a signal's moving mean is above a margin by `SIGNIFICANT` standard errors.

    An untrained masked-LM or span head says nothing about which passage helped, so the retriever
    must not learn from it yet. How far chance takes a mean follows from batch and variance, which
    the standard error measures. An open gate shuts when the mean is no longer above the margin.
    Pure: `observe` figures, ask `open`.

    :param margin: what is too small to learn from, however sure.
    :param decay: of an observation's weight, a step: the mean is over some 2 / (1 − decay) steps.
    """

    def __init__(self, margin: float = 0.0, decay: float = 0.98, least: int = 20) -> None:
        self.margin = margin
        self.decay = decay
        self.least = least
        self.open = False
        self.average = 0.0
        self.variance = 0.0
        self.seen = 0
        self._squares = 0.0  # Σ w², of the weights w whose sum is 1

    def observe(self, signal: float) -> None:
        """An unusable figure (NaN, infinite) is no observation."""
        if not math.isfinite(signal):
            return
        self.seen += 1
        # A plain mean at first, so that the beginning does not drag behind the start value.
        weight = max(1 - self.decay, 1 / self.seen)
        change = signal - self.average
        self.average += weight * change
        self.variance = (1 - weight) * (self.variance + weight * change**2)
        self._squares = (1 - weight) ** 2 * self._squares + weight**2
        above = self.average - self.margin
        if self.open:
            self.open = above > 0
        elif self.seen >= self.least:
            self.open = above > SIGNIFICANT * self.standard_error

    @property
    def standard_error(self) -> float:
        """Of the moving mean; infinite before there are two observations."""
        if self._squares >= 1:
            return math.inf
        return math.sqrt(max(0.0, self.variance) * self._squares / (1 - self._squares))

    def state(self) -> dict[str, float]:
        return {
            "average": self.average,
            "variance": self.variance,
            "squares": self._squares,
            "seen": self.seen,
            "open": self.open,
        }

    def restore(self, state: dict[str, float]) -> None:
        """A state without variance, of an older release, begins anew."""
        if "variance" not in state:
            return
        self.average = float(state["average"])
        self.variance = float(state["variance"])
        self._squares = float(state["squares"])
        self.seen = int(state["seen"])
        self.open = bool(state["open"])
