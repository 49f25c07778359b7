"""Early stopping: training stops, the best weights are restored, and a restart agrees."""

from __future__ import annotations

import torch
from prometheus_client import CollectorRegistry

from realm.corpus.passages import to_table
from realm.model.checkpoint import Model
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings
from services.trainer.checkpoints import Origin
from services.trainer.data import CorpusView
from services.trainer.early_stop import EarlyStop
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics
from services.trainer.run import make_runner
from services.trainer.step import StepRunner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch
from tests.unit.trainer.test_data import put
from tests.unit.trainer.test_loop import Bench
from tests.waiting import until


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
        for parameter in model.retriever.query.backbone.encoder.layer[-1].parameters():
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
