"""An embedder over a store in a temporary folder, with a tiny model and no Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document, to_table
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.process.wakeup import Wakeup
from realm.records import arrow
from realm.records.generation import Generation, pieces_folder
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.task_files import piece_files, probes_file, questions_file
from realm.records.vectors import vector_file
from services.embedder.claims import WorkClaims
from services.embedder.encoding import Compute, Encoders
from services.embedder.liveness import Liveness
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tasks import Embedder, Job
from tests.tiny import letter_model

CPU = torch.device("cpu")
NO_REDIS = "redis://127.0.0.1:1/0"
TEXTS = ["one fox ran. it ran far and it ran on.", "two hens sat.", "three cows ate all of it."]


@dataclass(frozen=True, slots=True)
class World:
    """A published snapshot, a passage file, a generation that wants its vectors."""

    store: Store
    model: Model
    snapshot: Snapshot
    embedder: Embedder
    registry: CollectorRegistry
    job: Job

    def outcomes(self, outcome: str) -> float:
        name = "realm_embedder_shards_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


def make_embedder(
    store: Store,
    registry: CollectorRegistry,
    redis_url: str = NO_REDIS,
    silence: float = 30.0,
) -> Embedder:
    claims = WorkClaims(redis_url, silence)
    claims.keep()
    return Embedder(
        store=store,
        generations=Generations(store),
        encoders=Encoders(Snapshots(store), CPU, keep=2, compute=Compute(None, torch.float32)),
        claims=claims,
        max_deliveries=3,
        wakeup=Wakeup(redis_url),
        metrics=EmbedderMetrics(registry),
        liveness=Liveness(),
    )


class InterruptedGenerations(Generations):
    """Calls `event` the second time that a state is asked for: between the first two batches."""

    def __init__(self, store: Store, event: Callable[[], object]) -> None:
        super().__init__(store)
        self._happens = event
        self._reads = 0

    def state(self, number: int) -> State | None:
        self._reads += 1
        if self._reads == 2:
            self._happens()
        return super().state(number)


def interrupted_by(embedder: Embedder, event: Callable[[], object]) -> Embedder:
    embedder.encoders.compute = Compute(token_budget=1, dtype=torch.float32)  # a batch a passage
    embedder.liveness.check_seconds = 0
    return replace(embedder, generations=InterruptedGenerations(embedder.store, event))


def cut(model: Model, texts: list[str], first: int = 0) -> list[Passage]:
    """One document a text, ids counted from `first`."""
    return [
        passage
        for number, text in enumerate(texts, first)
        for passage in split_document(Document(f"d{number}", "a title", text), 1, model.inputs)
    ]


def write_passages(store: Store, model: Model, passages: list[Passage], name: str = "c") -> str:
    path = f"passages/{model.inputs.fingerprint}/001-000/{name}.arrow"
    arrow.write_table(store, path, to_table(passages))
    return path


def begin_generation(store: Store, snapshot: Snapshot, passage_files: tuple[str, ...]) -> int:
    """A generation that is being built."""
    generations = Generations(store)
    generation = Generation(
        number=generations.next_number(),
        snapshot=snapshot.number,
        step=snapshot.step,
        corpus_version=1,
        fingerprint=snapshot.fingerprint,
        vector_size=snapshot.vector_size,
        passage_files=passage_files,
        collection="passages-00000001",
        created_at=0.0,
        why="test",
    )
    generations.create(generation)
    generations.record(generation.number, State.BUILDING)
    return generation.number


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store.open(str(tmp_path / "store"))
    model = letter_model()
    snapshot = publish_model(Snapshots(store), model)
    file = write_passages(store, model, cut(model, TEXTS))
    generation = begin_generation(store, snapshot, (file,))
    registry = CollectorRegistry()
    embedder = make_embedder(store, registry)
    job = Job(snapshot.number, file, vector_file(snapshot.name, file), generation)
    yield World(store, model, snapshot, embedder, registry, job)
    embedder.claims.close()
    embedder.wakeup.close()


def piece_of(world: World, table: pa.Table, name: str = "a") -> Job:
    """A piece of the world's generation."""
    folder = f"{pieces_folder(world.job.generation)}/x"
    source, output = piece_files(folder, world.snapshot.fingerprint, name)
    arrow.write_table(world.store, source, table)
    return replace(world.job, input_file=source, output_file=output)


def shard_of(world: World, file: str) -> Job:
    """A shard of a generation that has this passage file alone."""
    generation = begin_generation(world.store, world.snapshot, (file,))
    output = vector_file(world.snapshot.name, file)
    return Job(world.snapshot.number, file, output, generation)


def probes_of(world: World, snapshot: Snapshot, questions: pa.Table) -> Job:
    """The questions of a generation of this snapshot."""
    number = begin_generation(world.store, snapshot, ())
    generation = world.embedder.generations.get(number)
    source, output = questions_file(generation), probes_file(generation, generation)
    arrow.write_table(world.store, source, questions)
    return Job(snapshot.number, source, output, number)
