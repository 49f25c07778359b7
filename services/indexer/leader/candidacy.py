"""Decides from signs of life who may lead. Pure; durations are by this process's own clock.

A standby claims the next term when the leader has ended, or when none of its signs changed for a
whole lease while the standby itself was awake. A leader trusts a confirmation by the store for
half a lease, counted from before it asked: so a claim comes after the leader's trust has ended.
The store fences what is still running at that moment (see `realm.records.leaders`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class LeaderSigns:
    """What a standby sees of the newest term; 0: none yet. A beat counts if it changed."""

    term: int = 0
    #: Its leader resigned or its process ended: certain, not inferred from silence.
    ended: bool = False
    #: It ended its work before it ended. What a killed one had sent may still arrive.
    resigned: bool = False
    store_beat: str = ""
    redis_beat: str = ""


@dataclass(frozen=True, slots=True)
class StandbyWatch:
    """When a sign last changed, and when the standby last looked."""

    signs: LeaderSigns
    heard_at: float
    looked_at: float


def watch(
    before: StandbyWatch | None, signs: LeaderSigns, now: float, lease: float
) -> StandbyWatch:
    """One look. A standby that slept cannot know how long the leader was silent: it starts over."""
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
    """A term held; `confirmed_at`: a moment just before the store last confirmed it."""

    term: int
    floor: int
    confirmed_at: float

    def is_trusted(self, now: float, lease: float) -> bool:
        """Whether the leader may act without asking the store again."""
        return now - self.confirmed_at < lease / 2


def counts_until(asked: float, answered: float, lease: float) -> float:
    """Until when an answer of the store, asked whether a term lasts, need not be asked for again.

    It is as old as it took anyway, so it may count for as long again: else the leader over a slow
    store would ask before each change what it has just asked after the one before. What is done on
    its strength is asked about afterwards.
    """
    return answered + min(answered - asked, lease / 2)


def floor_of(signs: LeaderSigns, floor: int, claimed: int) -> int:
    """The floor of a claimed term, from the signs and the floor of the one before."""
    return floor if signs.term == 0 or signs.resigned else claimed
