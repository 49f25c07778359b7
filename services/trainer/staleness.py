"""Bounded staleness: makes training wait while the live index lags too far behind."""

from __future__ import annotations

from dataclasses import dataclass

from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.lag import steps_behind
from realm.records.snapshots import Snapshot
from realm.records.states import IN_PROGRESS, State
from realm.records.store import Store


@dataclass(frozen=True, slots=True)
class IndexSituation:
    """What is published and what is live.

    `newest_state` is of the newest generation made from the newest snapshot, None before there is
    one; `live_step` is None before the first commit.
    """

    published_step: int
    live_step: int | None
    newest_state: State | None
    paused: bool

    def exceeds(self, max_lag_steps: int) -> bool:
        """Whether to wait: only while the newest snapshot can still become live."""
        if not max_lag_steps or self.paused or self.newest_state not in IN_PROGRESS:
            return False
        return steps_behind(self.published_step, self.live_step or 0) > max_lag_steps


def index_situation(
    store: Store, generations: Generations, newest: Snapshot | None
) -> IndexSituation:
    """:param newest: the newest published snapshot."""
    entry = generations.live()
    live = generations.get(entry.generation) if entry else None
    if newest is None or (live and live.snapshot >= newest.number):
        step = live.step if live else 0
        return IndexSituation(step, step, None, paused=False)
    made = [
        number
        for number in generations.numbers()
        if generations.get(number).snapshot == newest.number
    ]
    return IndexSituation(
        published_step=newest.step,
        live_step=live.step if live else None,
        newest_state=generations.state(made[-1]) if made else None,
        paused=Controls(store).paused(),
    )
