"""Which parameters learn, how a step changes them, and what stops it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.errors import Diverged
from realm.model.checkpoint import Model
from realm.model.encoders import run_directly
from realm.model.frozen_encoder import encode
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import SalientSpans
from realm.objectives.objective import BatchT, Objective
from realm.settings import Settings
from realm.text.salient_spans import RuleTagger
from realm.training.learner import Learner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

BATCH = 7  # no multiple of the parts


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


@pytest.fixture
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs)


def inverse_cloze(model: Model) -> InverseCloze:
    return InverseCloze(model.inputs, batch_size=BATCH, removal_share=0.9, passage_tokens=96)


def masked_lm(model: Model, corpus: list[Passage]) -> MaskedLM:
    return MaskedLM(
        model.inputs,
        SalientSpans(RuleTagger()),
        ExactSearch(model, corpus),
        batch_size=3,
        candidates=4,
        passage_tokens=96,
    )


def gradients(objective: Objective[BatchT], model: Model, **given: object) -> dict[str, Tensor]:
    """Of one batch, always the same, under these settings."""
    corpus = tiny.passages(model.inputs)
    learner = Learner(model, tiny.settings(**{"train_precision": "float32", **given}))
    batch = objective.batch(iter(corpus), random.Random(5))
    learner.loss(objective, batch).value.backward()
    return {
        name: parameter.grad
        for part in (model.retriever, model.reader)
        for name, parameter in part.named_parameters()
        if parameter.grad is not None
    }


def furthest(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_parts_add_up_to_the_big_batch_in_batch_negatives_included(base: Path, parts: int) -> None:
    whole, parted = tiny.make_model(base), tiny.make_model(base)
    expected = gradients(inverse_cloze(whole), whole)
    found = gradients(inverse_cloze(parted), parted, accumulate_steps=parts)
    assert furthest(expected, found) < 1e-5
    assert max(value.abs().max().item() for value in expected.values()) > 1e-3


def test_parts_add_up_for_the_reader_too(base: Path, corpus: list[Passage]) -> None:
    whole, parted = tiny.make_model(base), tiny.make_model(base)
    expected = gradients(masked_lm(whole, corpus), whole)
    found = gradients(masked_lm(parted, corpus), parted, accumulate_steps=3)
    assert furthest(expected, found) < 1e-5


@pytest.mark.parametrize("parts", [1, 2])
def test_recomputed_activations_give_the_same_gradients(
    base: Path, corpus: list[Passage], parts: int
) -> None:
    held, again = tiny.make_model(base), tiny.make_model(base)
    expected = gradients(masked_lm(held, corpus), held)
    options = {"recompute_activations": True, "accumulate_steps": parts}
    found = gradients(masked_lm(again, corpus), again, **options)
    assert furthest(expected, found) < 1e-6
    assert not any(module.training for module in again.reader.modules())


@pytest.mark.parametrize(
    "options",
    [{"recompute_activations": True}, {"accumulate_steps": 7}],
    ids=["recompute", "parts"],
)
def test_less_is_held_until_the_backward_pass(base: Path, options: dict[str, object]) -> None:
    def held(**given: object) -> int:
        model = tiny.make_model(base)
        objective = inverse_cloze(model)
        learner = Learner(model, tiny.settings(trainable_layers=3, **given))
        batch = objective.batch(iter(tiny.passages(model.inputs)), random.Random(5))
        numbers: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            numbers[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            learner.loss(objective, batch)
        return sum(numbers.values())

    assert held(**options) < 0.5 * held()


def test_half_precision_stays_near_and_keeps_parameters_whole(base: Path) -> None:
    whole, half = tiny.make_model(base), tiny.make_model(base)
    expected = gradients(inverse_cloze(whole), whole)
    found = gradients(inverse_cloze(half), half, train_precision="bfloat16")
    assert (
        0 < furthest(expected, found) < 0.1 * max(g.abs().max().item() for g in expected.values())
    )
    assert all(value.dtype == torch.float32 for value in found.values())
    assert all(parameter.dtype == torch.float32 for parameter in half.retriever.parameters())


def test_half_precision_learns_and_stays_finite(model: Model, corpus: list[Passage]) -> None:
    objective = inverse_cloze(model)
    options = {"retriever_learning_rate": 1e-2}
    learner = Learner(model, tiny.settings(train_precision="bfloat16", **options))
    batch = objective.batch(iter(corpus), random.Random(5))
    losses = []
    for _ in range(30):
        loss = learner.loss(objective, batch)
        losses.append(loss.figures["loss"])
        assert loss.value.dtype == torch.float32
        learner.learn(loss.value, objective.name)
    assert losses[-1] < 0.5 * losses[0]
    assert all(
        p.isfinite().all() and p.dtype == torch.float32 for p in model.retriever.parameters()
    )
    moments = learner.state().values()
    assert moments
    assert all(value.dtype == torch.float32 for value in moments)


def test_outside_a_loss_rows_run_plainly(model: Model, corpus: list[Passage]) -> None:
    objective = inverse_cloze(model)
    inputs = [model.inputs.passage(p.title_ids, p.body_ids) for p in corpus[:3]]
    before = encode(model.retriever.passage, inputs, model.inputs.pad)
    learner = Learner(model, tiny.settings(train_precision="bfloat16", accumulate_steps=2))
    learner.loss(objective, objective.batch(iter(corpus), random.Random(5)))
    assert model.retriever.passage.runner is run_directly
    assert (encode(model.retriever.passage, inputs, model.inputs.pad) == before).all()
