"""An embedder over a store in a temporary folder, with a tiny model and no Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.model.checkpoint import Model
from realm.process.wakeup import Wakeup
from realm.records.generations import Generations, State
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.records.vectors import vector_file
from services.embedder.deliveries import Deliveries
from services.embedder.encoders import Encoders
from services.embedder.encoding import Compute
from services.embedder.liveness import Drain, Heartbeat
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tasks import Embedder, Job
from tests.unit.embedder.tiny import begin_generation, cut, publish, tiny_model, write_passages

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
    heartbeat: str = "",
    silence: float = 30.0,
) -> Embedder:
    snapshots = Snapshots(store)
    return Embedder(
        store=store,
        snapshots=snapshots,
        generations=Generations(store),
        encoders=Encoders(snapshots, torch.device("cpu"), keep=2),
        compute=Compute(None, torch.float32),
        deliveries=Deliveries(redis_url, silence),
        max_deliveries=3,
        nudge=Wakeup(redis_url),
        metrics=EmbedderMetrics(registry),
        heartbeat=Heartbeat(heartbeat),
        drain=Drain(),
    )


class SecondLook(Generations):
    """Something happens between the first batch and the second."""

    def __init__(self, store: Store, happens: Callable[[], object]) -> None:
        super().__init__(store)
        self._happens = happens
        self._looks = 0

    def state(self, number: int) -> State | None:
        self._looks += 1
        if self._looks == 2:
            self._happens()
        return super().state(number)


def interrupted_by(embedder: Embedder, happens: Callable[[], object]) -> Embedder:
    return replace(
        embedder,
        generations=SecondLook(embedder.store, happens),
        compute=Compute(token_budget=1, dtype=torch.float32),  # a batch a passage
        look_seconds=0,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store.open(str(tmp_path / "store"))
    model = tiny_model()
    snapshot = publish(store, model)
    file = write_passages(store, model, cut(model, TEXTS))
    generation = begin_generation(store, snapshot, (file,))
    registry = CollectorRegistry()
    embedder = make_embedder(store, registry)
    job = Job(snapshot.number, file, vector_file(snapshot.name, file), generation)
    yield World(store, model, snapshot, embedder, registry, job)
    embedder.deliveries.close()
    embedder.nudge.close()
