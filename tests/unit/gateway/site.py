"""A gateway with real models and a real gRPC server; the collections lie in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from realm.access.principal import ANYBODY, SERVE, Principal, bind_caller
from realm.client.wire import channel_options, from_rpc_error
from realm.corpus.documents import passage_id
from realm.corpus.table import Change, CorpusTable
from realm.errors import NotFound, RealmError
from realm.filters import matches
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import encode
from realm.model.publishing import publish_model
from realm.records.generation import Generation, LiveEntry, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import Vectors, no_vectors
from realm.search.bm25 import Bm25Index, SparseVector
from realm.search.exact import ExactIndex
from realm.search.vector_index import Found, Hit, IndexedPassage, OnPeer, Query, VectorSearch
from realm.search.word_statistics import Counting, WordStatistics, write_word_statistics
from realm.settings import Settings, load_settings
from realm.text.terms import count_terms
from realm.v1 import (
    answer_pb2_grpc,
    corpus_pb2_grpc,
    index_pb2_grpc,
    retrieval_pb2_grpc,
)
from realm.v1.types_pb2 import Filter
from services.gateway.gateway import Gateway
from tests.ports import free_port
from tests.tiny import eiffel_model

PATIENCE = 20.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
#: Nobody listens here.
NOWHERE = "127.0.0.1:1"
#: Whose documents the passages of a generation are, by turns.
TENANTS = ("acme", "globex")

TEXTS = (
    "The Eiffel Tower is in Paris.",
    "A river is in Paris: the Seine.",
    "Who built the tower? Gustave did.",
    "The tower is a tower in a tower.",
    "Paris is in France, a land of rivers.",
)


@contextmanager
def calling_with(reach: Filter | None) -> Iterator[None]:
    """Calls within are those of a key with this filter."""
    bind_caller(Principal("test", frozenset({SERVE}), reach))
    try:
        yield
    finally:
        bind_caller(ANYBODY)


async def failure(call: Any) -> RealmError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Waits for it, with a deadline."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come about") from None


class MemorySearch:
    """`VectorSearch` over exact search. `gate`, once set, holds searches back until opened;
    `proved` is the newest corpus version that marked collections prove."""

    def __init__(self) -> None:
        self.collections: dict[str, tuple[list[IndexedPassage], Vectors]] = {}
        self.gate: asyncio.Event | None = None
        self.waiting = 0
        self.calls = 0
        self.proved = 1 << 30

    def watch_peers(self, on_peer: OnPeer) -> None:
        """It has none."""

    async def close(self) -> None:
        """It holds nothing."""

    async def search(
        self,
        collection: str,
        query: Query,
        limit: int,
        timeout: float,
        version: int | None = None,
    ) -> Found:
        found = await self._search(collection, query, limit)
        if version is None:
            return Found(found)
        return Found(found, min(version, self.proved))

    async def _search(self, collection: str, query: Query, limit: int) -> list[Hit]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.gate is not None:
            self.waiting += 1
            await self.gate.wait()
            self.waiting -= 1
        if collection not in self.collections:
            raise NotFound(f"Qdrant: collection {collection} doesn't exist")
        passages, vectors = self.collections[collection]
        passing = [at for at, each in enumerate(passages) if matches(query.filter, each.metadata)]
        passages, vectors = [passages[at] for at in passing], vectors[passing]
        if not passages:
            return []
        words = Bm25Index([weights_of(each) for each in passages])
        index = ExactIndex(vectors, words)
        found = index.search(query, limit)
        return [
            Hit(passages[row], float(product), float(score))
            for row, product, score in zip(found.rows, found.products, found.words, strict=True)
        ]


def weights_of(passage: IndexedPassage) -> SparseVector:
    counted = count_terms(passage.title, passage.text)
    return STATISTICS.passage(list(counted), list(counted.values()))


def passages_of(prefix: str, texts: tuple[str, ...] = TEXTS) -> list[IndexedPassage]:
    """Each is the second passage of a document, so its offsets do not begin at 0."""
    return [
        IndexedPassage(
            passage_id=passage_id(f"{prefix}-{number}", 1),
            document_id=f"{prefix}-{number}",
            document_version=3,
            ordinal=1,
            title="title",
            text=text,
            start=100,
            end=100 + len(text),
            metadata={"prefix": prefix, "number": str(number), "tenant": TENANTS[number % 2]},
        )
        for number, text in enumerate(texts)
    ]


def statistics_of(passages: list[IndexedPassage]) -> WordStatistics:
    counted = [count_terms(each.title, each.text) for each in passages]
    counting = Counting()
    counting.add([list(each) for each in counted], [list(each.values()) for each in counted])
    return counting.result()


#: Of every generation here: their passages have the same words.
STATISTICS = statistics_of(passages_of("any"))


@dataclass
class World:
    """A store with snapshots and generations, and the collections that belong to them."""

    store: Store
    search: MemorySearch
    folder: Path

    def __post_init__(self) -> None:
        self.snapshots = Snapshots(self.store)
        self.generations = Generations(self.store)
        self.models: dict[int, Model] = {}

    def write(self, version: int) -> None:
        """Commits changes to the corpus up to that version."""
        table = CorpusTable(self.store)
        while table.version < version:
            table.append([Change("any", None, "")])

    def publish(self, seed: int, step: int) -> Snapshot:
        return self.publish_model(eiffel_model(seed), step)

    def publish_model(self, model: Model, step: int) -> Snapshot:
        snapshot = publish_model(self.snapshots, model, step=step)
        self.models[snapshot.number] = model
        return snapshot

    def build(
        self,
        snapshot: Snapshot,
        corpus_version: int = 1,
        *,
        ranges: bool = True,
        marked: bool = False,
        words_alone: bool = False,
    ) -> Generation:
        """A generation with its collection, not live."""
        number = self.generations.next_number()
        generation = Generation(
            number=number,
            snapshot=snapshot.number,
            step=snapshot.step,
            corpus_version=corpus_version,
            fingerprint=snapshot.fingerprint,
            vector_size=0 if words_alone else snapshot.vector_size,
            passage_files=(),
            collection=collection_name(number),
            created_at=time.time(),
            why="test",
            average_terms=STATISTICS.average_terms,
            k1=STATISTICS.k1,
            word_statistics=write_word_statistics(self.store, snapshot.fingerprint, STATISTICS),
            ranges=ranges,
            marked=marked,
        )
        self.generations.create(generation)
        self.generations.record(number, State.BUILDING)
        passages = passages_of(f"g{number}")
        vectors = no_vectors(len(passages))
        if not words_alone:
            vectors = self.passage_vectors(snapshot.number, passages)
        self.fill(generation, passages, vectors)
        return generation

    def fill(
        self, generation: Generation, passages: list[IndexedPassage], vectors: Vectors
    ) -> None:
        self.search.collections[generation.collection] = (passages, vectors)

    def passage_vectors(self, snapshot: int, passages: list[IndexedPassage]) -> Vectors:
        model = self.models[snapshot]
        inputs = [
            model.inputs.passage(
                model.inputs.title_ids(each.title), model.inputs.tokenize(each.text)[0]
            )
            for each in passages
        ]
        return encode(model.retriever.passage, inputs, model.inputs.pad)

    def commit(self, generation: Generation, why: str = "refresh") -> LiveEntry:
        return self.generations.commit(
            generation.number, after=self.generations.live(), by="test", why=why
        )

    def go_live(self, seed: int, step: int, corpus_version: int = 1) -> Generation:
        return self.go_live_with(eiffel_model(seed), step, corpus_version)

    def go_live_with(self, model: Model, step: int, corpus_version: int = 1) -> Generation:
        generation = self.build(self.publish_model(model, step), corpus_version)
        self.commit(generation)
        return generation


@dataclass
class Site:
    """A running gateway and a client's stubs."""

    gateway: Gateway
    world: World
    registry: CollectorRegistry
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.retrieval: Any = retrieval_pb2_grpc.RetrievalServiceStub(self.channel)
        self.answers: Any = answer_pb2_grpc.AnswerServiceStub(self.channel)
        self.corpus: Any = corpus_pb2_grpc.CorpusServiceStub(self.channel)
        self.index: Any = index_pb2_grpc.IndexServiceStub(self.channel)

    @property
    def serving(self) -> int:
        current = self.gateway.slot.current
        return current.number if current else 0

    async def serves(self, generation: Generation) -> None:
        await until(lambda: self.serving == generation.number, f"generation {generation.number}")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    async def serving_status(self, name: str) -> bool:
        """Whether a health name is SERVING."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        request = health_pb2.HealthCheckRequest(service=name)
        found = (await stub.Check(request, timeout=PATIENCE)).status
        assert found in (SERVING, NOT_SERVING)
        return bool(found == SERVING)

    async def becomes_serving(self, *names: str, serving: bool = True) -> None:
        async with asyncio.timeout(PATIENCE):
            for name in names:
                while await self.serving_status(name) != serving:
                    await asyncio.sleep(0.01)


def site_settings(store: Store, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "store_url": store.url,
        "gateway_listen": f"127.0.0.1:{free_port()}",
        "indexer_url": NOWHERE,
        "redis_url": f"redis://{NOWHERE}/0",
        "live_poll_seconds": 0.02,
        "report_seconds": 0.05,
        "leader_wait_seconds": 0.3,
        "drain_seconds": 5,
        "device": "cpu",
    }
    return load_settings(**{**given, **changes})


@asynccontextmanager
async def running(
    world: World, search: VectorSearch | None = None, **changes: Any
) -> AsyncIterator[Site]:
    """A gateway in this process, stopped at the end unless the test stopped it."""
    registry = CollectorRegistry()
    settings = site_settings(world.store, **changes)
    gateway = Gateway(settings, world.store, search or world.search, registry)
    await gateway.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", options=channel_options())
    try:
        yield Site(gateway, world, registry, channel)
    finally:
        await channel.close(None)
        await gateway.stop()
