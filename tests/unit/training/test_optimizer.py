"""What learns and how fast: discriminative rates, gradual unfreezing, heads of several tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from realm.model.checkpoint import Model
from realm.training.learner import Learner
from tests import tiny
from tests.unit.training.test_learner import changed, loss_of, weights


def layer(number: int) -> str:
    return f".encoder.layer.{number}."


def moved(before: dict[str, Tensor], model: Model, part: str) -> float:
    after = weights(model)
    steps = [(after[n] - before[n]).abs().max().item() for n in after if part in n]
    return max(steps)


def test_each_layer_learns_slower_than_the_one_above(model: Model) -> None:
    settings = tiny.settings(trainable_layers=4, layer_decay=0.5, warmup_steps=0)
    learner = Learner(model, settings)
    before = weights(model)
    learner.learn(loss_of(model), "test")
    # The first step of Adam is as long as the rate, whatever the gradient.
    for part, rate in (
        ("log_scale", 1e-3),
        (layer(2), 1e-3),
        (layer(1), 5e-4),
        (layer(0), 2.5e-4),
        (".embeddings.", 1.25e-4),
    ):
        assert moved(before, model, part) == pytest.approx(rate, rel=0.1), part


def test_more_layers_than_there_are_teach_the_embeddings(model: Model) -> None:
    Learner(model, tiny.settings(trainable_layers=3))
    assert not model.retriever.query.backbone.embeddings.word_embeddings.weight.requires_grad
    Learner(model, tiny.settings(trainable_layers=4))
    assert model.retriever.query.backbone.embeddings.word_embeddings.weight.requires_grad


def test_layers_thaw_from_the_top_as_steps_go(model: Model) -> None:
    learner = Learner(model, tiny.settings(trainable_layers=3, unfreeze_every_steps=2))
    learning = []
    for _ in range(6):
        before = weights(model)
        learner.learn(loss_of(model), "test")
        names = changed(before, model)
        assert "retriever.log_scale" in names
        learning.append([n for n in (0, 1, 2) if any(layer(n) in name for name in names)])
    assert learning == [[2], [2], [1, 2], [1, 2], [0, 1, 2], [0, 1, 2]]


def test_unfreezing_goes_on_after_a_restart(model: Model) -> None:
    settings = tiny.settings(trainable_layers=3, unfreeze_every_steps=2)
    learner = Learner(model, settings)
    learner.learn(loss_of(model), "test")
    again = Learner(model, settings, step=2)
    again.restore(learner.state(), 2)
    before = weights(model)
    again.learn(loss_of(model), "test")
    assert moved(before, model, layer(1)) > 0
    assert moved(before, model, layer(0)) == 0


def test_the_schedule_bends_the_rates(model: Model) -> None:
    settings = tiny.settings(schedule="linear", max_steps=10, warmup_steps=0)
    learner = Learner(model, settings)
    lengths = []
    for _ in range(10):
        before = model.retriever.log_scale.item()
        learner.learn(model.retriever.log_scale * 1.0, "test")
        lengths.append(before - model.retriever.log_scale.item())
    expected = [1e-3 * (1 - step / 10) for step in range(10)]
    assert lengths == pytest.approx(expected, rel=0.01, abs=1e-6)


def test_heads_of_several_tasks_learn_in_their_own_turn_over_one_backbone(model: Model) -> None:
    learner = Learner(model, tiny.settings())
    ids = torch.randint(40, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)

    def language() -> Tensor:
        hidden = model.reader.hidden(ids, torch.zeros_like(ids), mask)
        return -model.reader.target_log_probs(hidden, ids[:, :2] * 0 + 3, ids[:, :2]).mean()

    def spans() -> Tensor:
        hidden = model.reader.hidden(ids, torch.zeros_like(ids), mask)
        logits = model.reader.span_logits(hidden, mask)
        return -logits.logits[logits.valid].log_softmax(0)[0]

    heads = {"language": "reader.predictions.", "spans": "reader.qa_outputs."}
    for task, loss in (("language", language), ("spans", spans)) * 3:
        before = weights(model)
        learner.learn(loss(), task)
        names = changed(before, model)
        for owner, head in heads.items():
            assert any(name.startswith(head) for name in names) == (owner == task)
        assert any(name.startswith("reader.backbone.encoder.layer.2.") for name in names)
