"""One training step: which objective, its batch, its loss, the learner's step.

Knows no store and no clock of publications, so a restart is exact by what it holds alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotFound, NotReady
from realm.model.checkpoint import Model
from realm.objectives.objective import Objective
from realm.settings import Settings
from services.trainer.learner import Learner
from services.trainer.schedule import chance, is_masked_lm


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did: `seconds` by phase; `fallback` says why it was no masked-LM step."""

    step: int
    objective: str
    figures: dict[str, float]
    seconds: dict[str, float]
    fallback: str | None


class Curriculum:
    """Mixes the objectives by a seeded schedule."""

    def __init__(
        self,
        model: Model,
        learner: Learner,
        inverse_cloze: Objective[Any],
        masked_lm: Objective[Any],
        settings: Settings,
    ) -> None:
        self.model = model
        self.learner = learner
        self.objectives: tuple[Objective[Any], Objective[Any]] = (inverse_cloze, masked_lm)
        self._seed = settings.seed
        self._masked_lm_share = settings.masked_lm_share

    def step(self, passages: Iterator[Passage], *, has_index: bool) -> StepReport:
        """One step over passages drawn from an endless stream.

        Without an index every step is inverse cloze; with one that fails, this step is.

        :raises NotReady: if the corpus holds nothing to learn from.
        :raises Diverged: if loss or gradient is not finite.
        """
        step = self.learner.step + 1
        fallback = None
        if has_index and is_masked_lm(self._seed, step, self._masked_lm_share):
            try:
                return self._learn(self.objectives[1], passages, step, None)
            except (DependencyUnavailable, NotFound, NotReady) as error:
                fallback = error.reason.lower()
        return self._learn(self.objectives[0], passages, step, fallback)

    def state(self) -> dict[str, Any]:
        return {objective.name: objective.state() for objective in self.objectives}

    def restore(self, state: dict[str, Any]) -> None:
        for objective in self.objectives:
            objective.restore(state[objective.name])

    def _learn(
        self,
        objective: Objective[Any],
        passages: Iterator[Passage],
        step: int,
        fallback: str | None,
    ) -> StepReport:
        marks = [time.perf_counter()]
        batch = objective.batch(passages, chance(self._seed, step, objective.name))
        marks.append(time.perf_counter())
        loss = objective.loss(batch, self.model)
        marks.append(time.perf_counter())
        norm = self.learner.learn(loss.value, objective.name)
        marks.append(time.perf_counter())
        seconds = {
            phase: end - start
            for phase, start, end in zip(("batch", "loss", "learn"), marks, marks[1:], strict=False)
        }
        figures = {**loss.figures, "gradient_norm": norm}
        return StepReport(step, objective.name, figures, seconds, fallback)
