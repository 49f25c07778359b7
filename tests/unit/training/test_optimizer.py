"""What learns and how fast: discriminative rates, gradual unfreezing, heads of several tasks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realm.model.checkpoint import Model
from realm.training.learner import Learner
from realm.training.optimizer import (
    ScheduleName,
    auxiliary_weight,
    rate_factor,
    slanted_triangular,
    triangular_share,
    unfrozen_layers,
    warm_up,
)
from tests import tiny
from tests.unit.training.test_learner import changed, loss_of, weights

NAMES: tuple[ScheduleName, ...] = ("constant", "linear", "cosine", "slanted")


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
    assert not model.retriever.query.backbone.word_embeddings.weight.requires_grad
    Learner(model, tiny.settings(trainable_layers=4))
    assert model.retriever.query.backbone.word_embeddings.weight.requires_grad


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


def test_warm_up_rises_evenly_to_one() -> None:
    factors = [warm_up(step, 3) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_whole() -> None:
    assert warm_up(1, 0) == 1.0


def test_linear_decay_falls_evenly_after_the_warm_up() -> None:
    factors = [rate_factor("linear", step, 1, 5) for step in range(1, 6)]
    assert factors == [0.5, 1.0, 0.75, 0.5, 0.25]


def test_cosine_decay_is_half_way_down_in_the_middle() -> None:
    assert rate_factor("cosine", 1, 0, 100) == 1.0
    assert rate_factor("cosine", 51, 0, 100) == pytest.approx(0.5)
    assert rate_factor("cosine", 100, 0, 100) < 0.001


def test_slanted_triangle_is_ulmfits_equation_3() -> None:
    # T = 100, cut_frac = 0.1, ratio = 32: the cut is at step 10.
    assert slanted_triangular(0, 100) == pytest.approx(1 / 32)
    assert slanted_triangular(5, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(10, 100) == 1.0
    assert slanted_triangular(55, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(100, 100) == pytest.approx(1 / 32)


@given(st.sampled_from(NAMES), st.integers(1, 5000), st.integers(0, 500), st.integers(1, 4000))
def test_every_factor_is_positive_and_at_most_one(
    name: ScheduleName, step: int, warmup: int, total: int
) -> None:
    assert 0 < rate_factor(name, step, warmup, total) <= 1


@given(st.sampled_from(NAMES[1:]), st.integers(0, 200), st.integers(300, 2000))
def test_what_decays_never_rises_again(name: ScheduleName, warmup: int, total: int) -> None:
    after = [rate_factor(name, step, warmup, total) for step in range(201, total + 20)]
    assert all(earlier >= later for earlier, later in pairwise(after))


def test_layers_thaw_from_the_top_one_at_a_time() -> None:
    assert [unfrozen_layers(step, 2, 3) for step in range(1, 8)] == [1, 1, 2, 2, 3, 3, 3]
    assert unfrozen_layers(1, 0, 3) == 3


def test_the_auxiliary_weight_halves_every_half_life() -> None:
    weights = [auxiliary_weight(step, 0.2, 10) for step in (1, 11, 21)]
    assert weights == pytest.approx([0.2, 0.1, 0.05])


def test_triangle_rises_then_falls_to_its_floor() -> None:
    factors = [triangular_share(done / 100, 0.1, 0.01) for done in range(101)]
    assert factors[0] == factors[100] == 0.01
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(a < b for a, b in pairwise(factors[1:11]))
    assert all(a > b for a, b in pairwise(factors[10:99]))
    assert triangular_share(0.0, 0.0, 0.01) == 1.0
