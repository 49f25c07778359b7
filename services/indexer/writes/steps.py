"""Plans the steps in which a generation follows the corpus: whole versions, of bounded work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from realm.corpus.changes import step_end
from realm.corpus.table import Write

#: Characters to embed in one step, with `DOCUMENT_COST` for each document.
STEP_COST = 400_000
#: A step that costs less is not planned anew, whatever is deleted meanwhile.
SMALL_COST = 20_000
#: Writes that a plan looks at; a version is never cut.
LOOK_AHEAD = 1_000


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """The changes of corpus versions after < version ≤ upto. `cost` is in characters to embed;
    `seen` is the newest corpus version when it was planned."""

    after: int
    upto: int
    cost: int = 0
    seen: int = 0


class StepPlanner:
    """Reads no more of the corpus than a plan needs, however far a generation is behind.

    :param writes: those of versions after < version ≤ upto, in the order of versions.
    """

    def __init__(self, writes: Callable[[int, int], Sequence[Write]]) -> None:
        self._writes = writes
        self._versions = 1

    def plan(self, after: int, newest: int) -> ChangeStep:
        """The next step of a generation that has applied `after`."""
        upto, writes = self._catching_up(after, newest)
        end, cost = step_end(writes, upto, STEP_COST)
        return ChangeStep(after, end, cost, newest)

    def replan(self, step: ChangeStep, newest: int) -> ChangeStep:
        """The step, or one in its place that costs half of it at the most: documents of it were
        deleted or replaced meanwhile. So a step under way is given up a few times at the most."""
        if newest <= step.seen or step.cost <= SMALL_COST:
            return step
        other = self.plan(step.after, newest)
        if 2 * other.cost <= step.cost:
            return other
        return ChangeStep(step.after, step.upto, step.cost, newest)

    def _catching_up(self, after: int, newest: int) -> tuple[int, Sequence[Write]]:
        """Up to which version was looked, and the writes until then."""
        while True:
            upto = min(newest, after + self._versions)
            writes = self._writes(after, upto)
            if upto < newest and len(writes) < LOOK_AHEAD:
                self._versions *= 2
                continue
            if len(writes) >= 2 * LOOK_AHEAD:
                self._versions = max(1, self._versions // 2)
            return upto, writes
