"""Early stopping: evaluates held-out retrieval, keeps the best weights, says when to stop."""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from torch import Tensor

from realm.settings import Settings
from realm.training.held_out import MOST_PASSAGES, HeldOutRetrieval, Patience
from realm.training.learner import train_dtype
from services.trainer.data import CorpusView
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics
from services.trainer.step import StepRunner

_log = structlog.get_logger(__name__)


class EarlyStop:
    """Off unless `evaluate_every_steps`; with `patience` 0 it evaluates and never stops.

    A new corpus resets the count, so that a trainer that has stopped goes on to learn it.
    """

    def __init__(
        self, settings: Settings, metrics: TrainerMetrics, board: TensorBoardWriter
    ) -> None:
        self.best: dict[str, Tensor] = {}
        self._every = settings.trainer.evaluate_every_steps
        self._settings = settings
        self._metrics = metrics
        self._board = board
        self._patience = Patience(settings.trainer.patience)
        self._retrieval: HeldOutRetrieval | None = None
        self._seen = ""

    @property
    def over(self) -> bool:
        return self._patience.over

    @property
    def why(self) -> str:
        return (
            "the end: held-out retrieval has not improved for REALM_PATIENCE evaluations;"
            f" the best weights, of step {self._patience.best_step}, are published"
        )

    def use(self, view: CorpusView) -> None:
        """Evaluates on what is held out of this corpus from now on."""
        if not self._every:
            return
        seen = hashlib.sha256("\n".join(view.files).encode()).hexdigest()
        if self._seen not in ("", seen):
            self._patience.reset()
            self.best = {}
        self._seen = seen
        held_out = [view.passage(int(row)) for row in view.held_out[:MOST_PASSAGES]]
        others = [view.passage(int(row)) for row in view.trainable[:MOST_PASSAGES]]
        self._retrieval = HeldOutRetrieval(held_out, others, self._settings.trainer.seed)
        if not len(self._retrieval):
            _log.warning("nothing_held_out", why="no document of the held-out tenth has sentences")

    def evaluate(self, runner: StepRunner, step: int) -> bool:
        """Evaluates if due; true if training has to stop, with the best weights restored."""
        due = self._every and step % self._every == 0 and not self.over
        if not due or not self._retrieval:
            return False
        dtype = train_dtype(self._settings, runner.model.retriever.passage.device)
        found = self._retrieval.evaluate(runner.model, dtype)
        if self._patience.record(found.reciprocal_rank, step):
            self.best = runner.learner.weights() if self._settings.trainer.patience else {}
        figures = {
            "reciprocal_rank": found.reciprocal_rank,
            "recall_at_1": found.recall_at_1,
            "recall_at_5": found.recall_at_5,
        }
        self._metrics.held_out.set(found.reciprocal_rank)
        self._metrics.best_step.set(self._patience.best_step)
        self._board.write("held_out", figures, step)
        rounded = {name: round(figure, 4) for name, figure in figures.items()}
        _log.info("held_out_evaluated", step=step, best_step=self._patience.best_step, **rounded)
        if self.over:
            runner.learner.load_weights(self.best)
            _log.info("stopped_early", step=step, best_step=self._patience.best_step)
        return self.over

    def state(self) -> dict[str, Any]:
        return {**self._patience.state(), "seen": self._seen}

    def restore(self, state: dict[str, Any], best: dict[str, Tensor]) -> None:
        self._patience.restore(state)
        self._seen, self.best = state["seen"], best
