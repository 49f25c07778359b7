"""The trainer over a store in one process: what it waits for, publishes, saves and counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from services.trainer.checkpoints import Origin
from services.trainer.context import Cadence, TrainingContext
from services.trainer.loop import IndexSituation, Trainer, index_situation
from services.trainer.metrics import TrainerMetrics
from services.trainer.publisher import Publisher
from services.trainer.retrieval import LiveRetrieval
from services.trainer.run import make_runner
from tests import tiny
from tests.unit.trainer.test_data import put
from tests.unit.trainer.test_retrieval import MemoryIndex
from tests.waiting import until

LIMIT = 30.0
BEHIND = IndexSituation(published_step=120, live_step=40, newest_state=State.BUILDING, paused=False)


class Bench:
    """A trainer in a thread of its own."""

    def __init__(self, store: Store, model: Model, **given: object) -> None:
        self.store, self.model = store, model
        self.settings = tiny.settings(**given)
        self.registry = CollectorRegistry()
        metrics = TrainerMetrics(self.registry)
        snapshots = Snapshots(store)
        cadence = Cadence(self.settings.trainer.snapshot_every_steps, 0, 0, 0.0)
        self.publisher = Publisher(snapshots, cadence, metrics, lambda about: None)
        retrieval = LiveRetrieval(
            store,
            MemoryIndex(),
            model.inputs,
            torch.device("cpu"),
            poll_seconds=0.05,
        )
        origin = Origin(model, 0, None, unpublished=True)
        runner = make_runner(self.settings, origin, retrieval)
        context = TrainingContext(self.settings, store, torch.device("cpu"), metrics)
        self.trainer = Trainer(context, runner, self.publisher, retrieval)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.trainer.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(LIMIT)
        assert not thread.is_alive()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"realm_trainer_{name}", labels) or 0.0


@pytest.fixture
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs)


def test_waits_for_passages_then_trains_to_the_end_and_publishes_it(
    store: Store, model: Model, corpus: list[Passage]
) -> None:
    bench = Bench(store, model, max_steps=7, snapshot_every_steps=100)
    with bench.running():
        put(store, 1, [corpus], model.inputs.fingerprint)
        newest = until(lambda: Snapshots(store).newest(), "the last step is published")
    assert newest.step == 7
    assert bench.metric("current_step") == 7
    assert bench.metric("steps_total", objective="inverse_cloze") == 7
    assert bench.metric("snapshot_published_step") == 7
    assert bench.metric("step_duration_seconds_count", phase="learn") == 7
    assert bench.metric("loss", objective="inverse_cloze") > 0
    trainable = [p for p in corpus if not is_held_out(p.document_id)]
    assert bench.metric("passages") == len(trainable)
    assert store.folders("checkpoints") == ["0000000007"]


def test_stopped_before_there_are_passages_it_leaves_no_checkpoint(
    store: Store, model: Model
) -> None:
    with Bench(store, model).running():
        pass
    assert store.files("checkpoints") == []


def test_a_newer_corpus_is_taken_over(store: Store, model: Model, corpus: list[Passage]) -> None:
    fingerprint = model.inputs.fingerprint
    bench = Bench(store, model, max_steps=1)
    put(store, 1, [corpus[:10]], fingerprint)
    with bench.running():
        until(lambda: bench.metric("passages"), "the first corpus")
        put(store, 2, [corpus[:10], corpus[10:]], fingerprint)
        trainable = sum(not is_held_out(p.document_id) for p in corpus)
        until(lambda: bench.metric("passages") == trainable, "the newer corpus")


def test_waits_for_the_index_until_the_snapshot_is_accepted_or_rejected(
    store: Store, model: Model, corpus: list[Passage]
) -> None:
    bench = Bench(store, model, snapshot_every_steps=5, max_index_lag_steps=4)
    put(store, 1, [corpus], model.inputs.fingerprint)
    with bench.running():
        until(lambda: bench.metric("waiting_for_index_seconds_total") > 0, "waits")
        newest = Snapshots(store).newest()
        assert newest is not None
        steps = bench.metric("current_step")
        generations = Generations(store)
        made = put(store, 2, [corpus], model.inputs.fingerprint)
        assert made.snapshot == newest.number == 1
        generations.record(2, State.BUILDING)
        generations.record(2, State.REJECTED, "the gate refused it")
        until(lambda: bench.metric("current_step") > steps, "goes on after the rejection")


def test_a_corpus_without_sentences_is_waited_on_and_counted(
    store: Store, model: Model, corpus: list[Passage]
) -> None:
    held_out = [p for p in corpus if is_held_out(p.document_id)]
    bench = Bench(store, model)
    put(store, 1, [held_out], model.inputs.fingerprint)
    with bench.running():
        until(lambda: bench.trainer._waited_for.startswith("the corpus holds too few"), "says so")
    assert bench.metric("current_step") == 0


@pytest.mark.parametrize(
    ("given_", "bound", "waits"),
    [
        ({}, 60, True),
        ({}, 80, False),
        ({"newest_state": None}, 60, True),
        *(
            ({"newest_state": state}, 60, False)
            for state in (State.LIVE, State.REJECTED, State.ABANDONED, State.RETAINED)
        ),
        ({"paused": True}, 60, False),
        # Before the first commit the lag counts from the base.
        ({"live_step": None}, 100, True),
        ({"live_step": None}, 120, False),
    ],
)
def test_waits_only_for_a_snapshot_that_may_still_become_live(
    given_: dict[str, object], bound: int, waits: bool
) -> None:
    assert replace(BEHIND, **given_).exceeds(bound) == waits  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.none() | st.integers(0, 10**6), st.booleans())
def test_no_bound_never_waits(published: int, live: int | None, paused: bool) -> None:
    assert not IndexSituation(published, live, State.BUILDING, paused).exceeds(0)


@pytest.mark.parametrize(
    ("given_", "waits"),
    [
        ({}, True),
        ({"newest_state": None}, True),
        ({"live_step": 40}, False),
        ({"newest_state": State.REJECTED}, False),
        ({"paused": True}, False),
    ],
)
def test_the_first_vectors_are_waited_for_only_while_they_may_come(
    given_: dict[str, object], waits: bool
) -> None:
    first = replace(BEHIND, live_step=None)
    assert replace(first, **given_).lacks_vectors == waits  # type: ignore[arg-type]


def test_a_trainer_that_comes_after_the_index_waits_beside_words_until_vectors_are_decided_on(
    store: Store, model: Model, corpus: list[Passage]
) -> None:
    Bench(store, model).publisher.publish_now(model, 0)
    bench = Bench(store, model, train_after_index=True)
    words = put(store, 1, [corpus], model.inputs.fingerprint, vector_size=0)
    generations = Generations(store)
    generations.commit(words.number, after=None, by="test", why="test")
    with bench.running():
        until(lambda: bench.trainer._waited_for.startswith("the first vectors"), "it waits")
        assert bench.metric("current_step") == 0
        put(store, 2, [corpus], model.inputs.fingerprint)
        generations.record(2, State.BUILDING)
        generations.record(2, State.REJECTED, "the gate refused it")
        until(lambda: bench.metric("current_step") > 0, "a step")


def test_words_alone_are_no_live_step(store: Store, model: Model, corpus: list[Passage]) -> None:
    words = put(store, 1, [corpus], model.inputs.fingerprint, vector_size=0)
    generations = Generations(store)
    generations.commit(words.number, after=None, by="test", why="test")
    newest = Snapshot(1, "x", 120, 0.0, None, "f", 2, {})
    situation = index_situation(store, generations, newest)
    assert situation == IndexSituation(120, None, None, paused=False)
