"""One training step: which objective, its batch, its loss, the learner's step.

Knows no store and no clock of publications, so a restart is exact by what it holds alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotFound, NotReady
from realm.mixture import Mixture
from realm.model.checkpoint import Model
from realm.objectives.objective import Objective
from realm.settings import Settings
from realm.training.learner import Learner
from services.trainer.schedule import chance


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did: `seconds` by phase; `fallback` says why not the objective drawn."""

    step: int
    objective: str
    figures: dict[str, float]
    seconds: dict[str, float]
    fallback: str | None


class Curriculum:
    """Mixes the objectives by a seeded schedule.

    :param objectives: those that the settings give a weight.
    """

    def __init__(
        self,
        model: Model,
        learner: Learner,
        objectives: Sequence[Objective[Any]],
        settings: Settings,
    ) -> None:
        self.model = model
        self.learner = learner
        self.objectives = tuple(objectives)
        self._by_name = {objective.name: objective for objective in objectives}
        self._seed = settings.trainer.seed
        self._mixture = Mixture.parse(settings.objectives.objectives)

    def step(self, passages: Iterator[Passage], *, has_index: bool) -> StepReport:
        """One step over passages drawn from an endless stream.

        Where the index is missing or fails, another objective of the mix, one that needs none,
        has this step; nothing is learnt by an objective without weight.

        :raises NotReady: if there is nothing to learn from, or no objective that can go on.
        :raises Diverged: if loss or gradient is not finite.
        """
        step = self.learner.step + 1
        objective = self._by_name[self._mixture.at(self._seed, step)]
        if not objective.needs_index:
            return self._learn(objective, passages, step, None)
        if not has_index:
            return self._fall_back(passages, step, "no_index", "no generation is live yet")
        try:
            return self._learn(objective, passages, step, None)
        except (DependencyUnavailable, NotFound, NotReady) as error:
            return self._fall_back(passages, step, error.reason.lower(), error.message)

    def state(self) -> dict[str, Any]:
        return {objective.name: objective.state() for objective in self.objectives}

    def restore(self, state: dict[str, Any]) -> None:
        """An objective that has a weight only now begins anew."""
        for objective in self.objectives:
            if objective.name in state:
                objective.restore(state[objective.name])

    def _fall_back(
        self, passages: Iterator[Passage], step: int, reason: str, why: str
    ) -> StepReport:
        free = frozenset(one.name for one in self.objectives if not one.needs_index)
        mixture = self._mixture.only(free)
        if mixture is None:
            raise NotReady(
                f"every objective of REALM_OBJECTIVES needs the index, and {why}; with"
                " inverse_cloze among them training would go on meanwhile"
            )
        objective = self._by_name[mixture.at(self._seed, step, "fallback")]
        return self._learn(objective, passages, step, reason)

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
        loss = self.learner.loss(objective, batch)
        marks.append(time.perf_counter())
        norm = self.learner.learn(loss.value, objective.name)
        marks.append(time.perf_counter())
        seconds = {
            phase: end - start
            for phase, start, end in zip(("batch", "loss", "learn"), marks, marks[1:], strict=False)
        }
        figures = {**loss.figures, "gradient_norm": norm}
        return StepReport(step, objective.name, figures, seconds, fallback)
