"""The trainer process over a real store and a real Qdrant Edge: start, train, stop, resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, to_table
from realm.model.checkpoint import load_model, load_passage_encoder
from realm.objectives.objective import all_objectives
from realm.records import arrow
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.weighing import Weighing
from realm.search.vector_index import open_index
from realm.settings import load_settings, variable
from tests import tiny
from tests.congruence.edge_server import EdgeServer
from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
LIMIT = 60.0


@dataclass
class Bench:
    """A folder with a tiny base and a store, and a trainer that may be started and ended."""

    folder: Path
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        tiny.write_base(self.folder / "base")
        self.store = Store.open(str(self.folder / "store"))
        self.snapshots = Snapshots(self.store)
        self.generations = Generations(self.store)
        self.qdrant_port = free_port()

    @property
    def log_path(self) -> Path:
        return self.folder / "trainer.log"

    def start(self, processes: int = 1, **given: object) -> None:
        """Several processes are started by torchrun."""
        settings = tiny.settings(
            base_model=str(self.folder / "base"),
            store_url=str(self.folder / "store"),
            redis_url=f"redis://127.0.0.1:{free_port()}/0",
            qdrant_url=f"http://127.0.0.1:{self.qdrant_port}",
            device="cpu",
            live_poll_seconds=0.1,
            snapshot_every_steps=10,
            checkpoint_every_steps=10,
            **given,
        )
        environment = {name: v for name, v in os.environ.items() if not name.startswith("REALM_")}
        environment |= {variable(name): str(value) for name, value in settings.given().items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *_torchrun(processes), "-m", "services.trainer"],
                cwd=ROOT,
                env={**environment, **self.options, "OMP_NUM_THREADS": "1"},
                stderr=log,
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self.process = None
        return code

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log_path.read_text().splitlines()
        whole = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in whole if line["event"] == name]

    def first_snapshot(self) -> Snapshot:
        return until(self.snapshots.newest, "the base is published")

    def newest_step(self) -> int:
        newest = self.snapshots.newest()
        assert newest is not None
        return newest.step

    def build(self, snapshot: Snapshot) -> list[Passage]:
        """What the indexer would: a generation over the towns, its manifest and passage file."""
        model = load_model(self.snapshots.materialise(snapshot))
        passages = tiny.passages(model.inputs)
        file = f"passages/{snapshot.fingerprint}/001-000/towns.arrow"
        arrow.write_table(self.store, file, to_table(passages))
        number = self.generations.next_number()
        self.generations.create(
            Generation(
                number=number,
                snapshot=snapshot.number,
                step=snapshot.step,
                corpus_version=1,
                fingerprint=snapshot.fingerprint,
                vector_size=snapshot.vector_size,
                passage_files=(file,),
                collection=collection_name(number),
                created_at=time.time(),
                why="test",
            )
        )
        self.generations.record(number, State.BUILDING)
        return passages

    def go_live(self, snapshot: Snapshot, passages: list[Passage]) -> None:
        number = self.generations.numbers()[-1]
        serving = load_passage_encoder(self.snapshots.materialise(snapshot))
        inputs = [serving.inputs.passage(p.title_ids, p.body_ids) for p in passages]
        index = open_index(load_settings(qdrant_url=f"http://127.0.0.1:{self.qdrant_port}"))
        index.create(collection_name(number), snapshot.vector_size)
        vectors = serving.encoder.encode(inputs)
        index.upsert(collection_name(number), passages, vectors, Weighing(20.0, 1.2))
        index.close()
        self.generations.record(number, State.LIVE)
        self.generations.commit(number, after=self.generations.live(), by="test", why="test")


def _torchrun(processes: int) -> list[str]:
    if processes == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(LIMIT)


def test_untrained_trainer_publishes_the_base_and_idles(bench: Bench) -> None:
    bench.start(train=False)
    snapshot = bench.first_snapshot()
    assert (snapshot.number, snapshot.step) == (1, 0)
    until(lambda: bench.events("idle"), "idle")  # a signal before then ends it without a word
    assert bench.end() == 0
    bench.start(train=False)
    until(lambda: len(bench.events("idle")) == 2, "idle again")
    assert bench.end() == 0
    assert len(bench.snapshots.all()) == 1


@pytest.mark.slow
def test_another_base_becomes_a_snapshot_of_its_own(bench: Bench) -> None:
    bench.start(train=False)
    first = bench.first_snapshot()
    bench.end()
    tiny.write_base(bench.folder / "base", seed=4)
    bench.start(train=False)
    second = until(lambda: len(s := bench.snapshots.all()) > 1 and s[1], "the new base")
    assert bench.end() == 0
    assert (second.number, second.step) == (2, 0)
    assert second.digest != first.digest


def test_trains_without_an_index_publishes_stops_and_resumes(bench: Bench) -> None:
    bench.start()
    base = bench.first_snapshot()
    until(lambda: bench.events("waiting"), "says that it waits for passages")
    bench.build(base)
    until(lambda: len(bench.snapshots.all()) >= 3, "two trained snapshots")
    assert bench.end() == 0
    stopped = bench.events("trainer_stopped")[-1]["step"]
    names = bench.store.folders("checkpoints")
    assert int(names[-1]) == stopped
    assert len(names) <= 2
    trained = bench.snapshots.all()
    assert [s.number for s in trained] == list(range(1, len(trained) + 1))
    assert [s.parent for s in trained] == [None, *range(1, len(trained))]
    assert trained[1].metrics["inverse_cloze_loss"] > 0
    assert trained[0].digest != trained[1].digest

    bench.start()
    until(lambda: bench.events("resumed"), "resumes")
    assert bench.events("resumed")[-1]["step"] == stopped
    until(lambda: bench.newest_step() > stopped, "a snapshot after the restart")
    assert bench.end() == 0


@pytest.mark.slow
def test_a_killed_trainer_resumes_from_its_last_checkpoint(bench: Bench) -> None:
    bench.start()
    bench.build(bench.first_snapshot())
    until(lambda: bench.store.files("checkpoints"), "a first checkpoint begins")
    until(
        lambda: [p for p in bench.store.files("checkpoints") if p.endswith("manifest.json")],
        "a first checkpoint",
    )
    bench.end(signal.SIGKILL)
    bench.start()
    resumed = until(lambda: bench.events("resumed"), "resumes")
    assert resumed[-1]["step"] >= 10
    assert bench.end() == 0


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_alone_publishes(bench: Bench) -> None:
    server = EdgeServer(bench.folder / "qdrant", port=bench.qdrant_port).start()
    try:
        bench.start(processes=2, max_steps=30)
        base = bench.first_snapshot()
        bench.go_live(base, bench.build(base))
        until(lambda: bench.newest_step() == 30, "the end is published")
        numbers = [snapshot.number for snapshot in bench.snapshots.all()]
        assert numbers == list(range(1, len(numbers) + 1))
        # torchrun hands the signal on; the leader ends in order and the other with it.
        bench.end()
        assert len(bench.events("trainer_stopped")) == 1
        bench.start(processes=2, max_steps=40)
        until(lambda: bench.newest_step() == 40, "goes on after a restart")
        bench.end(signal.SIGTERM)
    finally:
        server.kill()
    learner = bench.store.folders("checkpoints")
    assert int(learner[-1]) == 40


def test_learns_from_the_live_index_and_goes_on_when_it_dies(bench: Bench, tmp_path: Path) -> None:
    server = EdgeServer(tmp_path / "qdrant", port=bench.qdrant_port).start()
    try:
        metrics_port = free_port()
        bench.start(metrics_port=metrics_port)
        base = bench.first_snapshot()
        passages = bench.build(base)
        bench.go_live(base, passages)
        until(lambda: bench.events("live_generation_taken"), "takes what is live")
        until(lambda: _metric(metrics_port, 'steps_total{objective="masked_lm"}') >= 5, "masked LM")
    finally:
        server.kill()
    fallbacks = 'retrieval_fallbacks_total{reason="dependency_unavailable"}'
    until(lambda: _metric(metrics_port, fallbacks) >= 2, "falls back")
    steps = _metric(metrics_port, "current_step")
    until(lambda: _metric(metrics_port, "current_step") > steps + 20, "goes on")
    newest = bench.snapshots.newest()
    assert newest is not None
    assert "retrieval_utility" in newest.metrics
    assert any(is_held_out(p.document_id) for p in passages)
    assert bench.end() == 0


@pytest.mark.slow
def test_every_objective_learns_over_the_live_index(bench: Bench, tmp_path: Path) -> None:
    server = EdgeServer(tmp_path / "qdrant", port=bench.qdrant_port).start()
    try:
        metrics_port = free_port()
        town = next(f"town-{n}" for n in range(40) if not is_held_out(f"town-{n}"))
        questions = [
            {"question": f"who founded {town}", "answers": [name], "document_id": town}
            for name in tiny.NAMES
        ]
        lines = "\n".join(map(json.dumps, [*questions, {"question": "who?", "answers": ["Esker"]}]))
        bench.store.write("questions.jsonl", lines.encode())
        bench.start(
            metrics_port=metrics_port,
            objectives=",".join(all_objectives()),
            train_questions="questions.jsonl",
            retrieval_encoder="fresh",
        )
        base = bench.first_snapshot()
        bench.go_live(base, bench.build(base))
        for name in all_objectives():
            until(partial(_has_learnt, metrics_port, name), f"{name} learns")
        away = 'retrieval_fallbacks_total{reason="dependency_unavailable"}'
        assert _metric(metrics_port, away) == 0
        assert bench.end() == 0
    finally:
        server.kill()


@pytest.mark.slow
def test_questions_that_are_missing_are_named_at_start(bench: Bench) -> None:
    bench.start(objectives="open_qa=1", train_questions="gone.jsonl")
    assert bench.process is not None
    assert bench.process.wait(LIMIT) == 2
    assert "REALM_TRAIN_QUESTIONS names gone.jsonl" in bench.log_path.read_text()


@pytest.mark.slow
def test_waits_for_the_index_within_its_bound(bench: Bench) -> None:
    bench.start(max_index_lag_steps=10)
    bench.build(bench.first_snapshot())
    until(lambda: bench.newest_step() == 20, "two snapshots ahead")
    until(
        lambda: [e for e in bench.events("waiting") if "MAX_INDEX_LAG" in e["on"]],
        "waits for the index",
    )
    bench.store.write_json("control/paused.json", {"paused": True, "why": "test", "at": 0.0})
    until(lambda: bench.newest_step() > 30, "goes on when refreshing is paused")
    assert bench.end() == 0


@pytest.mark.slow
def test_divergence_ends_training_with_a_sentence_and_keeps_the_last_snapshot(
    bench: Bench,
) -> None:
    bench.start(retriever_learning_rate=1e30, warmup_steps=0, divergence_retries=1)
    bench.build(bench.first_snapshot())
    assert bench.process is not None
    assert bench.process.wait(LIMIT) == 2
    bench.process = None
    last = bench.log_path.read_text().splitlines()[-1]
    assert last.startswith("trainer: the ")
    assert "inverse_cloze at step" in last
    assert "diverged 2 times" in last
    assert len(bench.events("diverged")) == 1
    for snapshot in bench.snapshots.all():
        model = load_model(bench.snapshots.materialise(snapshot))
        assert all(p.isfinite().all() for p in model.retriever.parameters())


def _has_learnt(port: int, objective: str) -> bool:
    return _metric(port, f'steps_total{{objective="{objective}"}}') >= 2


def _metric(port: int, name: str) -> float:
    """The sum of the samples whose line begins so; 0 while there is none."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except URLError:
        return 0.0
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"realm_trainer_{name}")
    )
