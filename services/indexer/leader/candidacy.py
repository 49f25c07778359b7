"""Who may lead, decided from signs of life: pure. Durations are of one's own monotonic clock.

A standby claims the next term when the leader ended, or when no sign of it has changed for a
whole lease while the standby itself was awake. A leader trusts a look at the store for half a
lease, counted from before that look: so whoever claims does so after the leader's trust ended.
What is at work at that very moment is fenced by the store (see `realm.records.leaders`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class LeaderSigns:
    """What a standby sees of the newest term; 0: nobody ever led. Beats count by their change."""

    term: int = 0
    #: Its leader resigned, or its process is gone: certain, not guessed from silence.
    ended: bool = False
    store_beat: str = ""
    redis_beat: str = ""


@dataclass(frozen=True, slots=True)
class StandbyWatch:
    """A standby's patience: when a sign last changed and when it last looked."""

    signs: LeaderSigns
    heard_at: float
    looked_at: float


def watch(
    before: StandbyWatch | None, signs: LeaderSigns, now: float, lease: float
) -> StandbyWatch:
    """One look. Who slept cannot say how long the leader was silent: patience begins anew."""
    slept = before is None or now - before.looked_at >= lease
    if before is None or slept or signs != before.signs:
        return StandbyWatch(signs, heard_at=now, looked_at=now)
    return replace(before, looked_at=now)


def may_claim(seen: StandbyWatch, lease: float) -> bool:
    """Whether the next term may be claimed."""
    if seen.signs.term == 0 or seen.signs.ended:
        return True
    return seen.looked_at - seen.heard_at >= lease


@dataclass(frozen=True, slots=True)
class Tenure:
    """A term that is held; `confirmed_at` is a moment before the store last confirmed it."""

    term: int
    floor: int
    confirmed_at: float

    def is_trusted(self, now: float, lease: float) -> bool:
        """Whether the leader may act without looking at the store again."""
        return now - self.confirmed_at < lease / 2


def floor_of(signs: LeaderSigns, floor: int, claimed: int) -> int:
    """The floor of a claimed term, from the signs and the floor of the one before."""
    return floor if signs.term == 0 or signs.ended else claimed
