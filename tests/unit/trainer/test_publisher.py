"""Snapshots: whole, finite, one at a time, unmoved by the training that goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.errors import DependencyUnavailable, Diverged
from realm.model.checkpoint import Model, copy_model, load_model
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.training.learner import Learner
from services.trainer.context import Cadence
from services.trainer.metrics import TrainerMetrics
from services.trainer.other_models import OtherModels
from services.trainer.publisher import Publisher
from tests import tiny

LIMIT = 20.0


class SlowSnapshots(Snapshots):
    """Publishes only when let; fails when notified to."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.let = threading.Event()
        self.fail = False

    def publish(self, folder: Path, **about: object) -> Snapshot:
        assert self.let.wait(LIMIT)
        if self.fail:
            raise DependencyUnavailable("the store is away")
        return super().publish(folder, **about)  # type: ignore[arg-type]


def make(
    snapshots: Snapshots, every: int = 1, seconds: float = 0.0
) -> tuple[Publisher, list[str], CollectorRegistry]:
    registry, notified = CollectorRegistry(), list[str]()
    cadence = Cadence(every, seconds, 0, 0.0)
    publisher = Publisher(
        snapshots, cadence, TrainerMetrics(registry), notified.append, clock=lambda: 1000.0
    )
    return publisher, notified, registry


def test_base_is_published_at_once(store: Store, model: Model) -> None:
    publisher, notified, registry = make(Snapshots(store))
    snapshot = publisher.publish_now(model, 0)
    assert (snapshot.number, snapshot.step, snapshot.parent) == (1, 0, None)
    assert snapshot.fingerprint == model.inputs.fingerprint
    assert snapshot.vector_size == model.config.embedding_size
    assert notified == ["snapshot"]
    assert publisher.newest == snapshot
    created = registry.get_sample_value("realm_trainer_snapshot_published_timestamp_seconds")
    assert created == snapshot.created_at


def test_snapshot_holds_the_parameters_of_the_step_it_was_taken_at(
    store: Store, model: Model
) -> None:
    snapshots = SlowSnapshots(store)
    publisher, _, _ = make(snapshots)
    learner = Learner(model, tiny.settings(warmup_steps=0))
    before = model.retriever.log_scale.item()
    assert publisher.offer(model, 1, lambda: {"retrieval_utility": 0.5})
    learner.learn(model.retriever.log_scale.square(), "test")
    assert model.retriever.log_scale.item() != before
    snapshots.let.set()
    snapshot = publisher.collect(LIMIT)
    assert snapshot is not None
    assert snapshot.metrics == {"retrieval_utility": 0.5}
    loaded = load_model(snapshots.materialise(snapshot))
    assert loaded.retriever.log_scale.item() == pytest.approx(before)


def test_one_publication_at_a_time_and_none_queued(store: Store, model: Model) -> None:
    snapshots = SlowSnapshots(store)
    publisher, notified, _ = make(snapshots)
    assert publisher.offer(model, 1, dict)
    assert not publisher.offer(model, 2, dict)
    assert not publisher.offer(model, 3, dict)
    assert publisher.collect() is None
    snapshots.let.set()
    first = publisher.collect(LIMIT)
    assert first is not None
    assert publisher.collect() is None
    assert publisher.offer(model, 4, dict)
    second = publisher.collect(LIMIT)
    assert second is not None
    assert [s.step for s in snapshots.all()] == [1, 4]
    assert second.parent == first.number
    assert notified == ["snapshot", "snapshot"]


def test_nothing_is_published_before_it_is_due(store: Store, model: Model) -> None:
    publisher, _, _ = make(Snapshots(store), every=10)
    assert not publisher.offer(model, 9, dict)
    assert publisher.offer(model, 10, dict)
    impatient, _, _ = make(Snapshots(store), every=10, seconds=1001)
    assert not impatient.offer(model, 10, dict)


def test_the_last_step_is_published_once_however_soon(store: Store, model: Model) -> None:
    publisher, _, _ = make(Snapshots(store), every=10)
    assert publisher.offer(model, 3, dict, last=True)
    assert publisher.collect(LIMIT) is not None
    assert not publisher.offer(model, 3, dict, last=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_parameter_that_is_not_finite_is_never_published(
    store: Store, model: Model, bad: float
) -> None:
    publisher, notified, _ = make(Snapshots(store))
    good = publisher.publish_now(model, 0)
    with torch.no_grad():
        model.reader.predictions.bias[3] = bad
    publisher.offer(model, 5, dict)
    with pytest.raises(Diverged, match=r"predictions\.bias at step 5"):
        publisher.collect(LIMIT)
    assert Snapshots(store).all() == [good]
    assert notified == ["snapshot"]


def test_a_store_that_is_away_costs_one_snapshot(store: Store, model: Model) -> None:
    snapshots = SlowSnapshots(store)
    snapshots.let.set()
    snapshots.fail = True
    publisher, notified, _ = make(snapshots)
    publisher.offer(model, 1, dict)
    assert publisher.collect(LIMIT) is None
    assert publisher.newest is None
    assert not notified
    snapshots.fail = False
    assert publisher.offer(model, 2, dict)
    assert publisher.collect(LIMIT) is not None


def test_a_copy_shares_what_does_not_learn_and_nothing_else(model: Model) -> None:
    Learner(model, tiny.settings(trainable_layers=1))
    copied = copy_model(model)
    assert copied.retriever.query is copied.retriever.passage
    for mine, theirs in (
        (model.retriever, copied.retriever),
        (model.reader, copied.reader),
    ):
        pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
        for own, other in pairs:
            assert torch.equal(own, other)
            assert (own is other) == (not own.requires_grad)


def test_what_another_claimed_before_is_not_published_over(store: Store, model: Model) -> None:
    """However long the files of both take."""
    snapshots = SlowSnapshots(store)
    publisher, notified, _ = make(snapshots)
    snapshots.let.set()
    base = publisher.publish_now(model, 0)
    snapshots.let.clear()
    others = OtherModels(store, base.number)
    assert publisher.offer(model, 1, dict, unless=others.on_the_way)
    # Another claims its number while this one's files are written, and dies.
    changes = iter([False, True])

    def dies() -> None:
        if next(changes):
            raise DependencyUnavailable("the other publisher was killed")

    with pytest.raises(DependencyUnavailable):
        Snapshots(store.guarded(dies)).publish(
            Path(__file__).parent, step=0, fingerprint="f", vector_size=4
        )
    snapshots.let.set()
    assert publisher.collect(LIMIT) is None
    assert Snapshots(store).all() == [base]
    assert notified == ["snapshot"]
