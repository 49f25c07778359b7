"""Early stopping: how well the model finds passages that it never trains on, and when to end.

The questions are sentences of held-out documents, as the inverse cloze task makes them; the
passages are theirs and others', searched exactly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.encoders import encode
from realm.text.inverse_cloze import inverse_cloze

MOST_QUESTIONS = 256
MOST_PASSAGES = 1024


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
