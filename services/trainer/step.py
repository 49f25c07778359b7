"""One training step: which objective, its batch, its loss, the learner's step.

Depends on no store and no clock, so its own state is all that an exact resume needs.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotFound, NotReady
from realm.model.checkpoint import Model
from realm.objectives.objective import Objective
from realm.settings import Settings
from realm.settings.objectives import Mixture
from realm.training.learner import Learner
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics

LOG_STEPS = 20
SMOOTHING = 0.9

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did: `seconds` by phase; `fallback` says why not the objective drawn."""

    step: int
    objective: str
    figures: dict[str, float]
    seconds: dict[str, float]
    fallback: str | None


class StepRunner:
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

        If the index is missing or fails, an objective of the mix that needs none takes the step;
        an objective without weight never does.

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
        """Objectives that `state` lacks start fresh."""
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
        # A generator for each step, seeded by its number: no random state has to be saved.
        rng = random.Random(f"{self._seed}:{step}:{objective.name}")
        batch = objective.batch(passages, rng)
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


class StepRecorder:
    """Records each step's report, and keeps moving averages of its figures."""

    def __init__(self, metrics: TrainerMetrics, board: TensorBoardWriter) -> None:
        self.averages: dict[str, float] = {}
        self._metrics = metrics
        self._board = board
        self._counted: Counter[tuple[str, str]] = Counter()

    def record(self, report: StepReport, runner: StepRunner) -> None:
        metrics, objective = self._metrics, report.objective
        metrics.steps.labels(objective).inc()
        metrics.current_step.set(report.step)
        metrics.loss.labels(objective).set(report.figures["loss"])
        rate = {"rate_factor": runner.learner.rate_factor(report.step)}
        self._board.write(objective, report.figures | rate, report.step)
        for phase, seconds in report.seconds.items():
            metrics.step_seconds.labels(phase).observe(seconds)
        if report.fallback:
            metrics.fallbacks.labels(report.fallback).inc()
        for name, figure in report.figures.items():
            key = name if name == "retrieval_utility" else f"{objective}_{name}"
            before = self.averages.get(key, figure)
            self.averages[key] = SMOOTHING * before + (1 - SMOOTHING) * figure
        if "retrieval_utility" in report.figures:
            metrics.retrieval_utility.set(self.averages["retrieval_utility"])
        for one in runner.objectives:
            for reason, total in one.skipped.items():
                metrics.skipped.labels(one.name, reason).inc(
                    total - self._counted[one.name, reason]
                )
                self._counted[one.name, reason] = total
        if report.step % LOG_STEPS == 0:
            rounded = {name: round(figure, 4) for name, figure in self.averages.items()}
            _log.info("trained", step=report.step, **rounded)
