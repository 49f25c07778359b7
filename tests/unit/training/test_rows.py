"""However a batch is computed (in parts, recomputed, in half precision), it teaches the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.encoders import encode, run_directly
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import SalientSpans
from realm.objectives.objective import Objective
from realm.text.salient_spans import RuleTagger
from realm.training.learner import Learner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

BATCH = 7  # no multiple of the parts


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


def gradients(objective: Objective[object], model: Model, **given: object) -> dict[str, Tensor]:
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
