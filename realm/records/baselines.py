"""What a candidate is compared with: live, and the best of those accepted lately.

Comparing with live alone would not do: quality could fall a little each time, always within the
tolerance, without any generation ever being rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from realm.errors import NotFound
from realm.records.generation import Event, Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State

PROBE_RECALL = "probe_recall@5"
READER_F1 = "reader_f1"
#: By which of the gate's figures a generation is the best: the retriever's, and the reader's.
FIGURES = (PROBE_RECALL, READER_F1)


@dataclass(slots=True)
class GateBaselines:
    """Finds the best recently accepted generation. `memory` is how many are looked at."""

    generations: Generations
    snapshots: Snapshots
    memory: int

    def of(self, candidate: Generation, live: Generation | None) -> list[Generation]:
        """Whose snapshots encode the candidate's questions, and answer them: its own, live's, the
        best retriever's and the best reader's. Live of words alone is no measure for vectors."""
        compared = {each.number: each for each in (candidate, live) if each and each.vector_size}
        for figure in FIGURES:
            if (best := self.best(candidate, live, figure)) is not None:
                compared.setdefault(best.number, best)
        return list(compared.values())

    def best(
        self, candidate: Generation, live: Generation | None, figure: str = PROBE_RECALL
    ) -> Generation | None:
        """The best of those accepted before the candidate, by one of the gate's own figures.

        None if that is live, or of live's or the candidate's snapshot, or its snapshot is gone.
        """
        if live is None:
            return None
        if (number := self.best_number(figure, before=candidate.number)) is None:
            return None
        found = self.generations.get(number)
        if found.snapshot == candidate.snapshot:
            return None
        if found.snapshot == live.snapshot and not live.words_alone:
            return None
        try:
            self.snapshots.get(found.snapshot)
        except NotFound:
            return None
        return found

    def best_number(self, figure: str, before: int | None = None) -> int | None:
        """Of those accepted last; None if the gate had no such figure of any."""
        accepted = self.accepted(figure, before)
        figures = {number: value for number, value in accepted if value is not None}
        # Of equals the newest: its corpus is most like today's.
        return max(figures, key=lambda each: (figures[each], each), default=None)

    def accepted(
        self, figure: str = PROBE_RECALL, before: int | None = None
    ) -> list[tuple[int, float | None]]:
        """The generations accepted last, newest first, with one of the gate's figures of each."""
        found: list[tuple[int, float | None]] = []
        for number in reversed(self.generations.numbers()):
            if len(found) == self.memory:
                break
            if before is None or number < before:
                events = self.generations.events(number)
                if any(event.state is State.LIVE for event in events):
                    found.append((number, _value(events, figure)))
        return found


def _value(events: Sequence[Event], figure: str) -> float | None:
    values = (event.report.get(figure) for event in events)
    return next((value for value in values if value is not None), None)
