"""Early stopping: training stops, the best weights are restored, and a restart agrees."""

from __future__ import annotations

import random

import torch
from prometheus_client import CollectorRegistry

from realm.corpus.documents import is_held_out
from realm.corpus.passages import to_table
from realm.model.checkpoint import Model
from realm.objectives.inverse_cloze import InverseCloze
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings
from realm.training.learner import Learner
from services.trainer.checkpoints import Origin
from services.trainer.data import CorpusView
from services.trainer.early_stop import EarlyStop, HeldOutRetrieval, Patience
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics
from services.trainer.run import make_runner
from services.trainer.step import StepRunner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch
from tests.unit.trainer.test_data import put
from tests.unit.trainer.test_loop import Bench
from tests.waiting import until

FLOAT = torch.float32


def view(model: Model, name: str = "all") -> CorpusView:
    return CorpusView((name,), {name: to_table(tiny.passages(model.inputs))})


def make(model: Model, settings: Settings) -> tuple[EarlyStop, StepRunner]:
    early = EarlyStop(settings, TrainerMetrics(CollectorRegistry()), TensorBoardWriter())
    early.use(view(model))
    passages = tiny.passages(model.inputs)
    origin = Origin(model, 0, None, unpublished=False)
    return early, make_runner(settings, origin, ExactSearch(model, passages))


def spoil(model: Model) -> None:
    """A model whose projection knows nothing: it ranks at random."""
    with torch.no_grad():
        for parameter in model.retriever.query.backbone.layers[-1].parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape) * 3)


def test_it_stops_when_nothing_gets_better_and_the_best_is_back(model: Model) -> None:
    settings = tiny.settings(evaluate_every_steps=5, patience=2)
    early, runner = make(model, settings)
    assert not early.evaluate(runner, 4)
    assert not early.best
    assert not early.evaluate(runner, 5)
    best = runner.learner.weights()
    torch.manual_seed(0)
    spoil(model)
    assert not early.evaluate(runner, 10)
    assert early.evaluate(runner, 15)
    assert early.over
    assert "of step 5" in early.why
    now = runner.learner.weights()
    assert all(torch.equal(now[name], best[name]) for name in best)


def test_a_restart_goes_on_counting(model: Model) -> None:
    settings = tiny.settings(evaluate_every_steps=1, patience=2)
    first, runner = make(model, settings)
    first.evaluate(runner, 1)
    first.evaluate(runner, 2)
    second = EarlyStop(settings, TrainerMetrics(CollectorRegistry()), TensorBoardWriter())
    second.restore(first.state(), first.best)
    second.use(view(model))
    assert not second.over
    assert second.evaluate(runner, 3)


def test_a_new_corpus_resets_the_count(model: Model) -> None:
    settings = tiny.settings(evaluate_every_steps=1, patience=1)
    early, runner = make(model, settings)
    early.evaluate(runner, 1)
    assert early.evaluate(runner, 2)
    early.use(view(model, "more"))
    assert not early.over


def test_off_by_default(model: Model) -> None:
    early, runner = make(model, tiny.settings())
    assert not early.evaluate(runner, 10)
    assert early.best == {}


def test_the_trainer_stops_says_so_and_publishes_the_best(store: Store, model: Model) -> None:
    bench = Bench(
        store,
        model,
        retriever_learning_rate=1e-12,
        reader_learning_rate=1e-12,
        evaluate_every_steps=2,
        patience=2,
        snapshot_every_steps=1000,
    )
    with bench.running():
        put(store, 1, [tiny.passages(model.inputs)], model.inputs.fingerprint)
        newest = until(lambda: Snapshots(store).newest(), "the best is published")
        until(lambda: bench.trainer._waited_for.startswith("the end: held-out"), "says so")
    assert newest.step == 6
    assert bench.metric("finished") == 1
    assert bench.metric("held_out_best_step") == 2
    assert bench.metric("held_out_reciprocal_rank") > 0
    assert bench.metric("current_step") == 6


def held_out_retrieval(model: Model, seed: int = 0) -> HeldOutRetrieval:
    passages = tiny.passages(model.inputs, 120)
    held_out = [p for p in passages if is_held_out(p.document_id)]
    others = [p for p in passages if not is_held_out(p.document_id)]
    return HeldOutRetrieval(held_out, others, seed)


def test_every_evaluation_asks_the_same(model: Model) -> None:
    first, second = held_out_retrieval(model), held_out_retrieval(model)
    assert first.evaluate(model, FLOAT) == second.evaluate(model, FLOAT)


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
