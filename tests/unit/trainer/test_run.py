"""Divergence: back to the last checkpoint at lower rates, then an end with a sentence."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from bench.tiny import random_base
from realm.corpus.passages import Passage, to_table
from realm.errors import Diverged
from realm.model.checkpoint import Model, load_model, new_model
from realm.model.publishing import publish_model
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from services.trainer.checkpoints import Checkpoints, find_origin
from services.trainer.context import Cadence, TrainingContext
from services.trainer.metrics import TrainerMetrics
from services.trainer.publisher import Publisher
from services.trainer.run import DivergenceRetries, TrainingRun
from tests import tiny
from tests.unit.trainer.test_data import put
from tests.waiting import until

ERROR = Diverged("the loss of x at step 9 is not a finite number", step=9)


def test_each_divergence_halves_the_rates_until_there_were_enough() -> None:
    attempts = DivergenceRetries(2)
    attempts.record(ERROR, 0, 1.0)
    assert attempts.lr_scale == 0.5
    attempts.record(ERROR, 0, 0.5)
    assert attempts.lr_scale == 0.25
    with pytest.raises(Diverged, match=r"step 9 is not.*diverged 3 times.*0.25 of these rates"):
        attempts.record(ERROR, 0, 0.25)


def test_a_newer_checkpoint_resets_the_count_and_keeps_the_scale() -> None:
    attempts = DivergenceRetries(1)
    attempts.record(ERROR, 0, 1.0)
    attempts.record(ERROR, 40, 0.5)
    assert (attempts.count, attempts.lr_scale) == (1, 0.25)


def test_without_retries_the_first_is_the_end() -> None:
    with pytest.raises(Diverged):
        DivergenceRetries(0).record(ERROR, 0, 1.0)


def training(
    base: Path, store: Store, registry: CollectorRegistry, **given: object
) -> tuple[TrainingRun, threading.Event, Model]:
    settings = tiny.settings(
        base_model=str(base), objectives="inverse_cloze=1", live_poll_seconds=0.05, **given
    )
    metrics = TrainerMetrics(registry)
    snapshots = Snapshots(store)
    cadence = Cadence(settings.trainer.snapshot_every_steps, 0, 0, 0.0)
    publisher = Publisher(snapshots, cadence, metrics, lambda about: None)
    origin = find_origin(settings, Checkpoints(store), snapshots)
    if origin.unpublished:
        publisher.publish_now(origin.model, origin.step)
    context = TrainingContext(settings, store, torch.device("cpu"), metrics)
    return TrainingRun(context, publisher), threading.Event(), origin.model


def test_hopeless_rates_end_with_a_sentence_and_the_last_snapshot_stays(
    base: Path, store: Store
) -> None:
    registry = CollectorRegistry()
    hopeless = {"retriever_learning_rate": 1e30, "warmup_steps": 0, "divergence_retries": 2}
    made, stop, model = training(base, store, registry, **hopeless)
    put(store, 1, [tiny.passages(model.inputs)], model.inputs.fingerprint)
    with pytest.raises(Diverged, match=r"inverse_cloze at step .* diverged 3 times"):
        made.run(None, stop)
    assert registry.get_sample_value("realm_trainer_divergences_total") == 3
    newest = Snapshots(store).newest()
    assert newest is not None
    kept = load_model(Snapshots(store).materialise(newest))
    assert all(p.isfinite().all() for p in kept.retriever.parameters())


def test_after_a_divergence_training_goes_on_from_the_checkpoint_at_half_the_rate(
    base: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from realm.objectives.inverse_cloze import InverseCloze

    registry = CollectorRegistry()
    made, stop, model = training(base, store, registry, checkpoint_every_steps=2, max_steps=8)
    put(store, 1, [tiny.passages(model.inputs)], model.inputs.fingerprint)
    real, calls = InverseCloze.loss, [0]

    def poisoned(self: InverseCloze, batch: object, model: Model) -> object:
        calls[0] += 1
        loss = real(self, batch, model)  # type: ignore[arg-type]
        if calls[0] == 6:
            return type(loss)(loss.value * float("nan"), loss.figures)
        if registry.get_sample_value("realm_trainer_finished"):
            stop.set()
        return loss

    monkeypatch.setattr(InverseCloze, "loss", poisoned)
    ender = threading.Thread(target=_end_when_finished, args=(registry, stop), daemon=True)
    ender.start()
    made.run(None, stop)
    ender.join(10)
    found = Checkpoints(store).newest()
    assert found is not None
    assert found.step == 8
    assert found.state["caution"] == 0.5
    assert registry.get_sample_value("realm_trainer_lr_scale") == 0.5
    assert registry.get_sample_value("realm_trainer_divergences_total") == 1


def _end_when_finished(registry: CollectorRegistry, stop: threading.Event) -> None:
    for _ in range(3000):
        if registry.get_sample_value("realm_trainer_finished"):
            break
        stop.wait(0.01)
    stop.set()


def go_live(store: Store, snapshot: Snapshot, passages: list[Passage]) -> None:
    """What the indexer would do with a snapshot."""
    file = f"passages/{snapshot.fingerprint}/000/{snapshot.number}.arrow"
    arrow.write_table(store, file, to_table(passages))
    generations = Generations(store)
    number = generations.next_number()
    generations.create(
        Generation(
            number,
            snapshot.number,
            snapshot.step,
            1,
            snapshot.fingerprint,
            snapshot.vector_size,
            (file,),
            f"c-{number}",
            0.0,
            "test",
        )
    )
    generations.commit(number, after=generations.live(), by="test", why="test")


def test_training_goes_on_from_another_s_model_once_it_is_live(base: Path, store: Store) -> None:
    """Its vectors are of another size, and its tokenizer another."""
    registry = CollectorRegistry()
    made, stop, model = training(base, store, registry, snapshot_every_steps=2)
    snapshots = Snapshots(store)
    first = until(snapshots.newest, "the base")
    go_live(store, first, tiny.passages(model.inputs))
    thread = threading.Thread(target=made.run, args=(None, stop), daemon=True)
    thread.start()
    try:
        until(lambda: len(snapshots.all()) >= 3, "trained snapshots")
        shape = {**tiny.SHAPE, "hidden_size": 48}
        words = tiny.tokenizer([*tiny.VOCABULARY, "bird"])
        other = new_model(random_base(words, tiny.LIMITS, seed=5, **shape))
        assert other.config.embedding_size != model.config.embedding_size
        published = publish_model(snapshots, other)
        step = registry.get_sample_value("realm_trainer_current_step") or 0
        until(
            lambda: (registry.get_sample_value("realm_trainer_current_step") or 0) > step + 4,
            "training goes on meanwhile",
        )
        assert snapshots.newest() == published, "nothing is published over it"
        go_live(store, published, tiny.passages(other.inputs))
        derived = until(
            lambda: (found := snapshots.newest()) != published and found, "a snapshot after it"
        )
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert derived.parent == published.number
    assert derived.fingerprint == published.fingerprint
    assert derived.vector_size == published.vector_size
    assert derived.step == 2
    resumed = Checkpoints(store).newest()
    assert resumed is not None
    assert resumed.model.config.embedding_size == other.config.embedding_size
