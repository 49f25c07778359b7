"""Held-out retrieval says how well a model finds; patience says when to stop."""

from __future__ import annotations

import random

import torch

from realm.corpus.documents import is_held_out
from realm.model.checkpoint import Model
from realm.objectives.inverse_cloze import InverseCloze
from realm.training.learner import Learner
from services.trainer.early_stop import HeldOutRetrieval, Patience
from tests import tiny

FLOAT = torch.float32


def make(model: Model, seed: int = 0) -> HeldOutRetrieval:
    passages = tiny.passages(model.inputs, 120)
    held_out = [p for p in passages if is_held_out(p.document_id)]
    others = [p for p in passages if not is_held_out(p.document_id)]
    return HeldOutRetrieval(held_out, others, seed)


def test_every_evaluation_asks_the_same(model: Model) -> None:
    assert make(model).evaluate(model, FLOAT) == make(model).evaluate(model, FLOAT)


def test_whoever_learns_the_passages_ranks_them_higher(model: Model) -> None:
    passages = [p for p in tiny.passages(model.inputs) if not is_held_out(p.document_id)][:6]
    asked = HeldOutRetrieval(passages, [], 0)
    before = asked.evaluate(model, FLOAT)
    objective = InverseCloze(model.inputs, batch_size=6, removal_share=1.0, passage_tokens=96)
    settings = tiny.settings(retriever_learning_rate=1e-2, train_precision="float32")
    learner = Learner(model, settings)
    for step in range(40):
        loss = learner.loss(objective, objective.batch(iter(passages * 2), random.Random(step)))
        learner.learn(loss.value, objective.name)
    after = asked.evaluate(model, FLOAT)
    assert after.questions == before.questions == 6
    assert after.reciprocal_rank > before.reciprocal_rank + 0.2
    assert 0 <= after.recall_at_1 <= after.recall_at_5 <= 1


def test_nothing_held_out_asks_nothing(model: Model) -> None:
    assert len(HeldOutRetrieval([], tiny.passages(model.inputs, 5), 0)) == 0


def test_patience_ends_after_so_many_evaluations_without_a_better_one() -> None:
    patience = Patience(2)
    figures = [0.1, 0.3, 0.2, 0.4, 0.4, 0.1]
    best = [patience.record(figure, step) for step, figure in enumerate(figures)]
    assert best == [True, True, False, True, False, False]
    assert patience.over
    assert (patience.best, patience.best_step) == (0.4, 3)


def test_patience_of_none_never_ends() -> None:
    patience = Patience(0)
    for step in range(100):
        patience.record(0.0, step)
    assert not patience.over


def test_patience_survives_a_restart() -> None:
    first = Patience(2)
    for step, figure in enumerate([0.5, 0.4]):
        first.record(figure, step)
    second = Patience(2)
    second.restore(first.state())
    second.record(0.3, 2)
    assert second.over
    second.reset()
    assert not second.over
    assert second.record(0.1, 3)
