"""An auxiliary masked LM beside a task, whose weight decays: SiATL (Chronopoulou et al. 2019).

A task alone may undo what the backbone knew of language; a language model's loss beside it, strong
at first and weaker from step to step, holds it back (section 3.2: L = L_task + γ·L_LM).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.inputs import InputBuilder
from realm.objectives.masked_lm import masked_targets
from realm.objectives.masking import MaskedSentence, Masker, RandomMasks, random_words
from realm.objectives.objective import Loss, Objective, tensors
from realm.objectives.sources import PassageSource

TaskT = TypeVar("TaskT")


@dataclass(frozen=True, slots=True)
class WithText(Generic[TaskT]):
    """A task's batch, and masked texts beside it."""

    task: TaskT
    texts: list[MaskedSentence]


class WithAuxiliaryLM(Objective[WithText[TaskT]]):
    """An objective that teaches the reader, and γ times a masked LM on passages without retrieval.

    :param texts: passages masked a batch (15% of their words, as BERT has it).
    :param weight: γ at this moment; at 0 the LM costs nothing.
    """

    def __init__(
        self,
        task: Objective[TaskT],
        inputs: InputBuilder,
        *,
        texts: int,
        weight: Callable[[], float],
    ) -> None:
        self.name = task.name
        self.skipped = task.skipped
        self._task = task
        self._inputs = inputs
        self._texts = texts
        self._weight = weight
        self._masker = Masker(inputs, RandomMasks(random_words), self.skipped)

    @property
    def needs_index(self) -> bool:
        return self._task.needs_index

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> WithText[TaskT]:
        """:raises NotReady, DependencyUnavailable, NotFound: as the task's does."""
        task = self._task.batch(passages, rng)
        texts: list[MaskedSentence] = []
        for passage in PassageSource(passages, self.skipped, self.name, self._texts):
            masked = self._masker.mask(passage.passage_id, passage.text, rng)
            if masked is not None:
                texts.append(masked)
            if len(texts) == self._texts:
                break
        return WithText(task, texts)

    def loss(self, batch: WithText[TaskT], model: Model) -> Loss:
        task = self._task.loss(batch.task, model)
        weight = self._weight()
        if not weight:
            return task
        language = masked_lm_loss(batch.texts, model)
        figures = {"auxiliary_lm_loss": language.item(), "auxiliary_lm_weight": weight}
        return Loss(task.value + weight * language, task.figures | figures)

    def state(self) -> dict[str, Any]:
        return self._task.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._task.restore(state)


def masked_lm_loss(texts: list[MaskedSentence], model: Model) -> Tensor:
    """−log p(y|x) of the hidden word pieces with the null document, a mean over all pieces: []."""
    inputs, reader = model.inputs, model.reader
    read = [inputs.reader(text.ids, []) for text in texts]
    hidden = reader.hidden(*tensors(read, inputs.pad, reader.device))  # [b, tokens, hidden]
    positions, targets, used = masked_targets(texts)  # [b, J]
    device = hidden.device
    log_probs = reader.target_log_probs(hidden, positions.to(device), targets.to(device))  # [b, J]
    return -log_probs[used.to(device)].mean()
