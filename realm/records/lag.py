"""Index lag: how far a snapshot is behind the newest published one, in steps and in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from realm.records.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Lag:
    """`since`: Unix time of the oldest newer snapshot's publication; None: this is the newest."""

    steps: int = 0
    since: float | None = None

    def seconds(self, now: float) -> float:
        return 0.0 if self.since is None else max(0.0, now - self.since)


def lag_behind(published: Iterable[Snapshot], number: int, step: int) -> Lag:
    """The lag of the snapshot `number`, trained to `step`.

    :param published: snapshots in the order of their numbers.
    """
    newer = [each for each in published if each.number > number]
    if not newer:
        return Lag()
    return Lag(steps_behind(newer[-1].step, step), min(each.created_at for each in newer))


def steps_behind(newest: int, step: int) -> int:
    """Never negative: a trainer that went back to an older step publishes a newer snapshot."""
    return max(0, newest - step)
