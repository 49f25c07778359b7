"""What a candidate is compared with: live, and the best of those accepted lately.

Comparing with live alone would not do: quality could fall a little each time, always within the
tolerance, without any generation ever being rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from realm.errors import NotFound
from realm.records.generations import Event, Generation, Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State

PROBE_RECALL = "probe_recall@5"


@dataclass(slots=True)
class GateBaselines:
    """Finds the best recently accepted generation. `memory` is how many are looked at."""

    generations: Generations
    snapshots: Snapshots
    memory: int

    def of(self, candidate: Generation, live: Generation | None) -> list[Generation]:
        """Whose snapshots encode the candidate's questions: its own, live's, the best's."""
        best = self.best(candidate, live)
        return [candidate, *(each for each in (live, best) if each is not None)]

    def best(self, candidate: Generation, live: Generation | None) -> Generation | None:
        """The best of those accepted before the candidate, by the gate's own figure.

        None if that is live, or of live's or the candidate's snapshot, or its snapshot is gone.
        """
        if live is None:
            return None
        accepted = self.accepted(before=candidate.number)
        figures = {number: figure for number, figure in accepted if figure is not None}
        if not figures:
            return None
        # Of equals the newest: its corpus is most like today's.
        number = max(figures, key=lambda each: (figures[each], each))
        found = self.generations.get(number)
        if found.snapshot in (live.snapshot, candidate.snapshot):
            return None
        try:
            self.snapshots.get(found.snapshot)
        except NotFound:
            return None
        return found

    def accepted(self, before: int | None = None) -> list[tuple[int, float | None]]:
        """The generations accepted last, newest first, with the gate's figure of each."""
        found: list[tuple[int, float | None]] = []
        for number in reversed(self.generations.numbers()):
            if len(found) == self.memory:
                break
            if before is None or number < before:
                events = self.generations.events(number)
                if any(event.state is State.LIVE for event in events):
                    found.append((number, _figure(events)))
        return found


def _figure(events: Sequence[Event]) -> float | None:
    figures = (event.report.get(PROBE_RECALL) for event in events)
    return next((figure for figure in figures if figure is not None), None)
