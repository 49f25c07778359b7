"""What work takes, learned from batches that were timed."""

from __future__ import annotations

#: What is left of a batch's weight after each further one: about the last thirty count.
MEMORY = 0.97
#: A batch may take so many times what was expected: more is a machine that stood still.
OUTLIER = 8.0
#: Batches before anything counts as an outlier.
TRUSTED = 8
#: Sizes of batches that differ by less than this share of their mean say nothing about the slope.
INDISTINCT = 0.1


class Cost:
    """Seconds of a batch = a + b·units, by least squares over recent batches.

    Batches all alike tell a + b·units alone; then a is taken for 0, which never makes a larger
    batch look cheaper than it is.
    """

    def __init__(self, prior: float, full: float) -> None:
        """:param prior: seconds a unit, until something is measured.
        :param full: units of a full batch.
        """
        self._full = full
        self._batches = 0
        # Of the batches' units x and seconds y: Σw, Σwx, Σwy, Σwx², Σwxy.
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._fixed, self._each = 0.0, prior

    def learn(self, units: float, seconds: float) -> None:
        """From a batch of so many units, more than 0, that took so long."""
        if self._batches >= TRUSTED:
            seconds = min(seconds, OUTLIER * self.alone(units))
        self._batches += 1
        new = (1.0, units, seconds, units * units, units * seconds)
        self._sums = tuple(MEMORY * old + one for old, one in zip(self._sums, new, strict=True))  # type: ignore[assignment]
        weight, x, y, xx, xy = self._sums
        mean_x, mean_y = x / weight, y / weight
        ratio = mean_y / mean_x
        spread = max(0.0, xx / weight - mean_x**2)
        # A ridge towards the ratio, which is the slope where all batches are alike.
        ridge = (INDISTINCT * mean_x) ** 2
        slope = (xy / weight - mean_x * mean_y + ridge * ratio) / (spread + ridge)
        self._each = min(max(slope, 0.0), ratio)
        self._fixed = max(0.0, mean_y - self._each * mean_x)

    def alone(self, units: float) -> float:
        """Seconds of a batch of so many units."""
        return self._fixed + self._each * units

    def queued(self, units: float) -> float:
        """Seconds of so many units in full batches."""
        return units * (self._each + self._fixed / self._full)


class Departures:
    """What a piece of work costs where many are done beside one another: the time from one's end
    to the next one's, while any is being done.

    Ends come in bursts, so some are taken together.
    """

    TOGETHER = 16

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._running = 0
        self._ended = 0
        self._since = 0.0

    def begin(self, now: float) -> None:
        """:param now: seconds of a clock that only rises."""
        if not self._running:
            self._ended, self._since = 0, now
        self._running += 1

    def end(self, now: float, *, done: bool) -> None:
        """:param done: whether it succeeded: what fails says nothing about what work takes."""
        self._running -= 1
        if not done:
            self._ended, self._since = 0, now
            return
        self._ended += 1
        if self._ended >= self.TOGETHER or not self._running:
            self._cost.learn(1.0, (now - self._since) / self._ended)
            self._ended, self._since = 0, now
