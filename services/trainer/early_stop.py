"""Early stopping: how well the model finds passages that it never trains on, and when to end.

The questions are sentences of held-out documents, as the inverse cloze task makes them; the
passages are theirs and others', searched exactly. The best weights are kept.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import encode
from realm.settings import Settings
from realm.text.cloze import inverse_cloze
from realm.training.learner import train_dtype
from services.trainer.data import CorpusView
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics
from services.trainer.step import StepRunner

MOST_QUESTIONS = 256
MOST_PASSAGES = 1024

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """Shares and a mean over the questions, each in 0…1, higher is better."""

    reciprocal_rank: float
    recall_at_1: float
    recall_at_5: float
    questions: int


class HeldOutRetrieval:
    """Questions and passages that stay the same from one evaluation to the next.

    :param held_out: passages of held-out documents: each asks one question.
    :param others: passages that nothing asks for; they make the search harder.
    """

    def __init__(self, held_out: Sequence[Passage], others: Sequence[Passage], seed: int) -> None:
        rng = random.Random(f"{seed}:held_out")
        chosen = rng.sample(held_out, min(len(held_out), MOST_QUESTIONS))
        pairs = [(one, inverse_cloze(one.text, rng)) for one in chosen]
        self._questions = [(one, *pair) for one, pair in pairs if pair is not None]
        room = MOST_PASSAGES - len(self._questions)
        self._others = rng.sample(others, min(len(others), room))

    def __len__(self) -> int:
        return len(self._questions)

    def evaluate(self, model: Model, dtype: torch.dtype) -> HeldOutFigures:
        """Encodes and ranks all. A passage lacks the sentence that asks for it: with it, every
        model would find it by its words."""
        inputs, retriever = model.inputs, model.retriever
        rests = [(one.title_ids, inputs.tokenize(rest)[0]) for one, _, rest in self._questions]
        wholes = [(one.title_ids, one.body_ids) for one in self._others]
        bodies = [inputs.passage(title, body) for title, body in rests + wholes]
        asked = [inputs.query(sentence) for _, sentence, _ in self._questions]
        passages = encode(retriever.passage, bodies, inputs.pad, dtype=dtype)  # [n, size]
        queries = encode(retriever.query, asked, inputs.pad, dtype=dtype)  # [q, size]
        scores = queries @ passages.T  # [q, n]; question i asks for passage i
        ranks = 1 + (scores > scores.diagonal()[:, None]).sum(axis=1)  # [q]
        return HeldOutFigures(
            float((1 / ranks).mean()),
            float((ranks <= 1).mean()),
            float((ranks <= 5).mean()),
            len(ranks),
        )


@dataclass(slots=True)
class Patience:
    """When to stop: after `most` evaluations in a row without a figure above the best; 0: never."""

    most: int
    best: float = -1.0
    best_step: int = 0
    worse: int = 0

    def record(self, figure: float, step: int) -> bool:
        """True if this is the best so far."""
        if figure > self.best:
            self.best, self.best_step, self.worse = figure, step, 0
            return True
        self.worse += 1
        return False

    @property
    def over(self) -> bool:
        return bool(self.most) and self.worse >= self.most

    def reset(self) -> None:
        """Starts over: the held-out questions have changed."""
        self.best, self.worse = -1.0, 0

    def state(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "most"}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.best_step = float(state["best"]), int(state["best_step"])
        self.worse = int(state["worse"])


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
