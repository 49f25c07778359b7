"""Bounded staleness: when the trainer has to wait for the index."""

from __future__ import annotations

from dataclasses import dataclass

from realm.records.lag import steps_behind
from realm.records.states import IN_PROGRESS, State


@dataclass(frozen=True, slots=True)
class IndexSituation:
    """What is published and what is live.

    `fate` is the state of the newest generation made from the newest snapshot, None before there
    is one; `live_step` is None before the first commit.
    """

    published_step: int
    live_step: int | None
    fate: State | None
    paused: bool


@dataclass(frozen=True, slots=True)
class StalenessBound:
    """`max_lag_steps` 0 bounds nothing."""

    max_lag_steps: int

    def must_wait(self, situation: IndexSituation) -> bool:
        """Waiting helps only while the newest snapshot can still become live."""
        if not self.max_lag_steps or situation.paused or situation.fate not in IN_PROGRESS:
            return False
        lag = steps_behind(situation.published_step, situation.live_step or 0)
        return lag > self.max_lag_steps
