"""The states of a generation, and the phases of the refresh that brings it live.

    (begun) ─▶ building ─▶ validating ─▶ live ◀─▶ retained ─▶ retired ─▶ deleted
                  └────────────┴──▶ rejected, abandoned

`None` stands for a generation whose first event is not recorded yet. How long anything has been in
its state, `Ages` tells by this process's own clock: time stamps in the store come from others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from enum import StrEnum


class State(StrEnum):
    BUILDING = "building"
    VALIDATING = "validating"
    LIVE = "live"
    RETAINED = "retained"
    RETIRED = "retired"
    DELETED = "deleted"
    REJECTED = "rejected"
    ABANDONED = "abandoned"


#: May still go live.
IN_PROGRESS: frozenset[State | None] = frozenset({None, State.BUILDING, State.VALIDATING})
#: Searched by gateways, or would be after a rollback.
SERVED = frozenset({State.LIVE, State.RETAINED})
#: Collections follow every write.
ACTIVE = frozenset({State.BUILDING, State.VALIDATING}) | SERVED
#: Never went live.
FAILED = frozenset({State.REJECTED, State.ABANDONED})
#: How a refresh ends.
OUTCOMES = FAILED | {State.LIVE}
#: No longer searched; the collection is dropped after the retirement time.
ENDED = FAILED | {State.RETIRED}
#: Never left.
FINAL = FAILED | {State.DELETED}

_NEXT: Mapping[State, frozenset[State]] = {
    State.BUILDING: frozenset({State.VALIDATING, State.RETAINED}) | FAILED,
    State.VALIDATING: frozenset({State.RETAINED}) | FAILED,
    State.LIVE: frozenset({State.RETAINED, State.RETIRED}),
    State.RETAINED: frozenset({State.RETIRED}),
    State.RETIRED: frozenset({State.DELETED}),
}


def may_follow(before: State | None, after: State) -> bool:
    """Whether a generation may be recorded in `after`.

    `live/` decides what is live, whatever the events say: LIVE may follow every state. The same
    state again adds a report.
    """
    return before is None or after in {before, State.LIVE} or after in _NEXT.get(before, ())


#: The phases of a refresh in their order, from a snapshot's publication to the flip of the last
#: gateway.
PHASES = ("queue", "embed", "load", "optimize", "validate", "swap", "flip")
#: Of which these are over when validation begins.
BUILD_PHASES = frozenset(PHASES[: PHASES.index("validate")])
#: The sum of all phases.
TOTAL = "total"
#: Reports of events name a phase's seconds with this prefix.
_FIGURE = "phase_"


def phase_figures(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase as figures of an event's report."""
    return {f"{_FIGURE}{name}": value for name, value in seconds.items()}


def phases_in(report: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase, of the figures of an event's report."""
    return {
        name.removeprefix(_FIGURE): value
        for name, value in report.items()
        if name.startswith(_FIGURE)
    }


class Ages:
    """How long this process has seen things in their present state. Used by one thread.

    A new process starts counting from zero: waiting for an age may take longer, never shorter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[object, float]] = {}

    def of(self, name: str, state: object) -> float:
        """Seconds since `name` was first seen in `state`; a new state starts from zero."""
        now = self._clock()
        if name not in self._since or self._since[name][0] != state:
            self._since[name] = state, now
        return now - self._since[name][1]

    def keep(self, names: Container[str]) -> None:
        """Forgets all others."""
        self._since = {name: since for name, since in self._since.items() if name in names}
