"""An auxiliary masked LM holds a task back from undoing what the backbone knew (SiATL)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.objectives.auxiliary_lm import WithAuxiliaryLM, masked_lm_loss
from realm.objectives.masking import Masker, RandomMasks, random_words
from realm.objectives.objective import Loss, Objective, tensors
from realm.training.learner import Learner
from tests import tiny


class Spoil(Objective[list[Passage]]):
    """A task at odds with language: all hidden states of the reader shall be alike."""

    name = "spoil"

    def __init__(self, model: Model) -> None:
        self.skipped: Counter[str] = Counter()
        self._inputs = model.inputs
        self._restored: dict[str, Any] = {}

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> list[Passage]:
        return [next(passages) for _ in range(3)]

    def loss(self, batch: list[Passage], model: Model) -> Loss:
        read = [self._inputs.reader(p.body_ids[:40], []) for p in batch]
        hidden = model.reader.hidden(*tensors(read, self._inputs.pad, model.reader.device))
        value = (hidden - torch.ones_like(hidden).cumsum(-1) / 32).square().mean()
        return Loss(value, {"loss": value.item()})

    def state(self) -> dict[str, Any]:
        return {"seen": 3}

    def restore(self, state: dict[str, Any]) -> None:
        self._restored = state


def language_after(base: Path, weight: float) -> tuple[float, float]:
    """Loss of the LM on other passages before and after the task, with γ = weight."""
    model = tiny.make_model(base)
    passages = tiny.passages(model.inputs)
    masker = Masker(model.inputs, RandomMasks(random_words), Counter())
    texts = [masker.mask(p.passage_id, p.text, random.Random(1)) for p in passages[-6:]]
    kept = [text for text in texts if text is not None]
    settings = tiny.settings(
        train_precision="float32", reader_learning_rate=1e-2, masked_lm_head_learning_rate=1e-2
    )
    learner = Learner(model, settings)
    task = WithAuxiliaryLM(Spoil(model), model.inputs, texts=3, weight=lambda: weight)
    with torch.no_grad():
        before = masked_lm_loss(kept, model).item()
    stream = iter(passages * 20)
    for step in range(12):
        loss = learner.loss(task, task.batch(stream, random.Random(step)))
        learner.learn(loss.value, task.name)
    with torch.no_grad():
        return before, masked_lm_loss(kept, model).item()


def test_language_is_kept_beside_a_task_that_spoils_it(base: Path) -> None:
    before, without = language_after(base, 0.0)
    _, beside = language_after(base, 1.0)
    assert beside < before < without


def test_its_loss_is_the_tasks_plus_the_weighted_language(model: Model) -> None:
    weight = [0.25]
    model.reader.eval()
    task = Spoil(model)
    both = WithAuxiliaryLM(task, model.inputs, texts=2, weight=lambda: weight[0])
    batch = both.batch(iter(tiny.passages(model.inputs)), random.Random(0))
    alone = task.loss(batch.task, model).value
    language = masked_lm_loss(batch.texts, model)
    loss = both.loss(batch, model)
    assert torch.allclose(loss.value, alone + 0.25 * language)
    assert loss.figures["auxiliary_lm_weight"] == 0.25
    weight[0] = 0.0
    assert torch.equal(both.loss(batch, model).value, alone)


def test_it_saves_what_the_task_saves(model: Model) -> None:
    both = WithAuxiliaryLM(Spoil(model), model.inputs, texts=2, weight=lambda: 1.0)
    assert both.state() == {"seen": 3}
    both.restore({"seen": 4})
    assert both._task._restored == {"seen": 4}  # type: ignore[attr-defined]
