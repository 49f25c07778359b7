"""Which parameters learn, how a step changes them, and what stops it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from realm.errors import Diverged
from realm.model.checkpoint import Model
from realm.settings import Settings
from realm.training.learner import Learner
from tests import tiny


def loss_of(model: Model) -> Tensor:
    """Anything that depends on every learning parameter."""
    parts = (model.retriever, model.reader)
    return sum((p.square().sum() for part in parts for p in part.parameters()), torch.zeros(()))


def weights(model: Model) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": parameter.detach().clone()
        for part, module in (("retriever", model.retriever), ("reader", model.reader))
        for name, parameter in module.named_parameters()
    }


def changed(before: dict[str, Tensor], model: Model) -> set[str]:
    return {name for name, value in weights(model).items() if not torch.equal(value, before[name])}


def test_only_top_layers_heads_and_scale_learn(model: Model) -> None:
    learner = Learner(model, tiny.settings(trainable_layers=1))
    before = weights(model)
    learner.learn(loss_of(model), "test")
    moved = changed(before, model)
    assert "retriever.log_scale" in moved
    assert any(name.startswith("reader.predictions.") for name in moved)
    assert any(name.startswith("reader.qa_outputs.") for name in moved)
    top = {name for name in moved if ".encoder.layer.2." in name}
    assert {name.split(".")[0] for name in top} == {"retriever", "reader"}
    below = ("embeddings", "encoder.layer.0.", "encoder.layer.1.")
    assert not [name for name in moved if any(part in name for part in below)]


def test_no_layers_leave_the_backbones_at_rest(model: Model) -> None:
    learner = Learner(model, tiny.settings(trainable_layers=0))
    before = weights(model)
    learner.learn(loss_of(model), "test")
    assert not [name for name in changed(before, model) if "backbone" in name]


def test_dropout_is_off(model: Model) -> None:
    model.retriever.train()
    Learner(model, tiny.settings())
    assert not any(module.training for module in model.retriever.modules())
    assert not any(module.training for module in model.reader.modules())


def test_retriever_and_reader_have_rates_of_their_own(model: Model) -> None:
    settings = tiny.settings(
        retriever_learning_rate=1e-5, reader_learning_rate=1e-2, warmup_steps=0
    )
    learner = Learner(model, settings)
    before = weights(model)
    learner.learn(loss_of(model), "test")
    after = weights(model)
    steps = {name: (after[name] - before[name]).abs().max().item() for name in before}
    # The first step of Adam is as long as the rate, whatever the gradient.
    single = ("log_scale", "word_weight")
    retriever = [s for n, s in steps.items() if "retriever." in n and not n.endswith(single)]
    assert max(retriever) == pytest.approx(1e-5, rel=0.2)
    assert max(steps.values()) == pytest.approx(1e-2, rel=0.2)


def test_the_scale_moves_at_the_default_rates(model: Model) -> None:
    learner = Learner(model, Settings())
    before = model.retriever.scale.item()
    for _ in range(100):
        learner.learn(model.retriever.score(*torch.ones(2, 1, 32)).sum(), "test")
    # At the retriever's rate of 2e-5 it would have lost a fifth of a percent.
    assert model.retriever.scale.item() < 0.95 * before


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_any_change(model: Model, bad: float) -> None:
    learner = Learner(model, tiny.settings(), step=6)
    before = weights(model)
    with pytest.raises(Diverged, match="loss of masked_lm at step 7"):
        learner.learn(loss_of(model) * bad, "masked_lm")
    assert not changed(before, model)
    assert learner.step == 6


def test_a_gradient_that_is_no_number_stops_before_any_change(model: Model) -> None:
    learner = Learner(model, tiny.settings())
    before = weights(model)
    scale = model.retriever.log_scale
    # The square root has no finite slope at 0, though its value is fine.
    with pytest.raises(Diverged, match="gradient of inverse_cloze at step 1"):
        learner.learn((scale - scale.detach()).abs().sqrt(), "inverse_cloze")
    assert not changed(before, model)


def test_a_part_without_gradient_stays_where_it_is(model: Model) -> None:
    learner = Learner(model, tiny.settings())
    before = weights(model)
    learner.learn(model.retriever.log_scale.square(), "test")
    assert changed(before, model) == {"retriever.log_scale"}


def test_state_fits_another_learner(base: Path) -> None:
    first, second = tiny.make_model(base), tiny.make_model(base)
    one, two = Learner(first, tiny.settings()), Learner(second, tiny.settings())
    one.learn(loss_of(first), "test")
    two.learn(loss_of(second), "test")
    fresh = Learner(second, tiny.settings())
    fresh.restore(one.state(), one.step)
    one.learn(loss_of(first), "test")
    fresh.learn(loss_of(second), "test")
    assert not changed(weights(first), second)
    assert fresh.step == 2


def test_layers_that_learn_only_now_begin_with_fresh_moments(model: Model) -> None:
    learner = Learner(model, tiny.settings(trainable_layers=2))
    learner.learn(loss_of(model), "test")
    narrower = Learner(model, tiny.settings(trainable_layers=1))
    narrower.restore(learner.state(), 1)
    assert set(narrower.state()) < set(learner.state())
    narrower.learn(loss_of(model), "test")
