"""The lanes that questions go through, the work in them, and whether more can be done in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.gateway.admission.cost import Cost

#: `encode` and `read` are computed here, in a thread each; `search` is the vector database's.
Stage = Literal["encode", "search", "read"]
#: Units of work by stage: tokens to encode, searches, tokens to read.
Work = Mapping[Stage, float]

#: The least time after which a refused caller should try again.
LEAST_PAUSE = 0.05


class Ledger:
    """Units of work that were taken on and are not done, by caller."""

    def __init__(self) -> None:
        self._held: dict[str, float] = {}

    def __len__(self) -> int:
        """Callers with work."""
        return len(self._held)

    @property
    def total(self) -> float:
        return sum(self._held.values())

    def add(self, caller: str, units: float) -> None:
        """:param units: below 0 to take them off."""
        left = self._held.get(caller, 0.0) + units
        if left > 1e-9:
            self._held[caller] = left
        else:
            self._held.pop(caller, None)

    def ahead(self, caller: str, units: float) -> float:
        """Units done before a caller's new ones, if callers take turns evenly: all its own, and of
        each other's as much as it has then had itself."""
        own = self._held.get(caller, 0.0)
        share = own + units
        others = (held for name, held in self._held.items() if name != caller)
        return own + sum(min(held, share) for held in others)


@dataclass(frozen=True, slots=True)
class Lane:
    """One stage: its work, what it costs, and how many seconds of it may be ahead of anybody."""

    cost: Cost
    longest_queue: float
    ledger: Ledger = field(default_factory=Ledger)
    #: Units that may always queue: what is known from lone work makes a batch of it look too long.
    always: float = 0.0

    def queue(self, caller: str, units: float) -> float:
        """Seconds until new work of a caller would begin."""
        return self.cost.queued(self.ledger.ahead(caller, units))

    def beyond(self, caller: str, units: float, share: float = 1.0) -> float:
        """By how many seconds that queue is too long; 0 or less if it is not.

        :param share: of what may queue.
        """
        if self.ledger.total + units <= share * self.always:
            return 0.0
        return self.queue(caller, units) - share * self.longest_queue


class Lanes:
    """Takes work on, or says when to try again."""

    def __init__(self, lanes: Mapping[Stage, Lane]) -> None:
        self._lanes = lanes

    def __getitem__(self, stage: Stage) -> Lane:
        return self._lanes[stage]

    def excess(self, caller: str, work: Work, seconds: float, *, share: float = 1.0) -> float:
        """By how many seconds work misses what it may take; 0 if it can be taken on.

        Stages work at the same time, so that the longest queue counts, then the work itself. Into
        empty lanes anything may go, whatever it is said to cost: else an estimate that is too high
        would never be put right.

        :param seconds: until the deadline.
        :param share: of what may queue: who can wait leaves room for who cannot.
        """
        lanes = [(self._lanes[stage], units) for stage, units in work.items() if units]
        if not any(len(lane.ledger) for lane, _ in lanes):
            return 0.0
        queues = [lane.queue(caller, units) for lane, units in lanes]
        itself = sum(lane.cost.alone(units) for lane, units in lanes)
        too_long = max(lane.beyond(caller, units, share) for lane, units in lanes)
        too_late = max(queues) + itself - seconds
        found = max(too_long, too_late)
        return max(found, LEAST_PAUSE) if found > 0 else 0.0
