"""The gateway against Qdrant's protocol: flips under load, deleted collections, a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path

import grpc
import pytest

from realm.client import Client
from realm.client.wire import from_rpc_error
from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.errors import DependencyUnavailable
from realm.model.checkpoint import Model, new_model, write_model
from realm.model.frozen_encoder import encode
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.search.vector_index import IndexedPassage, open_index, open_search
from realm.search.word_statistics import WordStatistics, write_word_statistics
from realm.settings import load_settings
from realm.text.terms import count_terms
from tests.ports import free_port
from tests.unit.gateway.site import NOWHERE, MemorySearch, Site, World, running, until
from tests.unit.gateway.test_flips import QUESTION, REQUEST, check_binding, expected_scores

PATIENCE = 60.0

DOCUMENTS = (
    Document("eiffel", "Eiffel Tower", "The Eiffel Tower was built by Gustave Eiffel's company."),
    Document("seine", "Seine", "The Seine is a river that flows through Paris to the sea."),
    Document("bread", "Baguette", "A baguette is a long thin loaf of bread with a crisp crust."),
    Document("louvre", "Louvre", "The Louvre is a museum; the Mona Lisa hangs in it."),
)


class QdrantWorld(World):
    """Its collections lie in Qdrant, and in memory as the oracle."""

    def __init__(self, store: Store, folder: Path, url: str) -> None:
        super().__init__(store, MemorySearch(), folder)
        self.index = open_index(load_settings(qdrant_url=url))

    def fill(
        self, generation: Generation, passages: list[IndexedPassage], vectors: Vectors
    ) -> None:
        super().fill(generation, passages, vectors)
        self.index.create(generation.collection, vectors.shape[1])
        cut = [as_passage(each) for each in passages]
        self.index.upsert(generation.collection, cut, vectors, generation.weighing)


def as_passage(indexed: IndexedPassage) -> Passage:
    counted = count_terms(indexed.title, indexed.text)
    return Passage(
        **asdict(indexed),
        title_ids=[],
        body_ids=[],
        content_hash="",
        terms=list(counted),
        term_counts=list(counted.values()),
    )


@asynccontextmanager
async def gateway(world: World, url: str) -> AsyncIterator[Site]:
    search = open_search(load_settings(qdrant_url=url))
    async with running(world, search) as site:
        yield site
    await search.close()


async def test_flips_and_deletions_under_load_fail_no_request(
    store: Store, tmp_path: Path, qdrant_url: str
) -> None:
    """Each flip deletes the collection before, as soon as the gateway says that none drains."""
    world = QdrantWorld(store, tmp_path, qdrant_url)
    live = world.go_live(seed=1, step=10)
    scores = {live.number: expected_scores(world, live)}
    seen: list[int] = []
    stop = asyncio.Event()

    async def client(site: Site) -> None:
        while not stop.is_set():
            response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
            seen.append(check_binding(response, scores))

    async with gateway(world, qdrant_url) as site:
        await site.serves(live)
        async with asyncio.TaskGroup() as clients:
            for _ in range(6):
                clients.create_task(client(site))
            for number in range(2, 5):
                old = live
                live = await asyncio.to_thread(world.build, world.publish(number, 10 * number))
                scores[live.number] = expected_scores(world, live)
                world.commit(live)
                await site.serves(live)
                slot, only = site.gateway.slot, {live.number}
                await until(lambda slot=slot, only=only: slot.pinned_generations == only)  # type: ignore[misc]
                await asyncio.to_thread(world.index.drop, old.collection)
                answered = len(seen)
                await until(lambda before=answered: len(seen) > before + 10)  # type: ignore[misc]
            stop.set()
    assert set(seen) == {1, 2, 3, 4}
    world.index.close()


async def test_request_that_slept_past_its_collection_begins_again(
    store: Store, tmp_path: Path, qdrant_url: str
) -> None:
    world = QdrantWorld(store, tmp_path, qdrant_url)
    first = world.go_live(seed=1, step=10)
    async with gateway(world, qdrant_url) as site:
        await site.serves(first)
        # Built beforehand: the gateway waits for a flip only so long.
        second = await asyncio.to_thread(lambda: world.build(world.publish(2, 20)))
        await asyncio.to_thread(world.index.drop, first.collection)
        call = site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
        await asyncio.to_thread(world.commit, second)
        check_binding(await call, {2: expected_scores(world, second)})
    world.index.close()


async def test_qdrant_gone_is_said_and_does_not_unready(store: Store, tmp_path: Path) -> None:
    world = World(store, MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    async with gateway(world, f"http://{NOWHERE}") as site:
        await site.serves(first)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            # It waits for Qdrant as long as the caller can, and still says what is wrong.
            await site.retrieval.RetrievePassages(REQUEST, timeout=5)
        error = from_rpc_error(caught.value)
        assert isinstance(error, DependencyUnavailable)
        assert "Qdrant" in error.message


def make_live(store: Store, folder: Path, url: str, model: Model) -> None:
    """Snapshot, collection and commit of a whole model over `DOCUMENTS`."""
    write_model(folder, model)
    inputs = model.inputs
    snapshot = Snapshots(store).publish(
        folder, step=0, fingerprint=inputs.fingerprint, vector_size=model.config.embedding_size
    )
    passages = [passage for each in DOCUMENTS for passage in split_document(each, 1, inputs)]
    encoded = [inputs.passage(each.title_ids, each.body_ids) for each in passages]
    vectors = encode(model.retriever.passage, encoded, inputs.pad)
    words = WordStatistics.of(passages)
    generation = Generation(
        number=1,
        snapshot=snapshot.number,
        step=0,
        corpus_version=1,
        fingerprint=inputs.fingerprint,
        vector_size=vectors.shape[1],
        passage_files=(),
        collection=collection_name(1),
        created_at=time.time(),
        why="test",
        average_terms=words.average_terms,
        k1=words.k1,
        word_statistics=write_word_statistics(store, inputs.fingerprint, words),
    )
    index = open_index(load_settings(qdrant_url=url))
    index.create(generation.collection, generation.vector_size)
    index.upsert(generation.collection, passages, vectors, generation.weighing)
    index.close()
    generations = Generations(store)
    generations.create(generation)
    generations.record(1, State.LIVE)
    generations.commit(1, after=None, by="test", why="first")


@contextmanager
def gateway_process(store: Store, url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    address = f"127.0.0.1:{free_port()}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("REALM_")}
    environment = {
        **clean,
        "REALM_STORE_URL": store.url,
        "REALM_QDRANT_URL": url,
        "REALM_GATEWAY_LISTEN": address,
        "REALM_REDIS_URL": f"redis://{NOWHERE}/0",
        "REALM_INDEXER_URL": NOWHERE,
    }
    process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment)
    try:
        yield process, address
    finally:
        process.kill()
        process.wait(timeout=20)


def answers(client: Client, deadline: float) -> None:
    """Waits until the gateway answers."""
    while True:
        try:
            client.search("anything", limit=1)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_process_answers_with_the_base_model_and_drains_on_sigterm(
    store: Store, tmp_path: Path, qdrant_url: str
) -> None:
    make_live(store, tmp_path / "model", qdrant_url, new_model())
    with gateway_process(store, qdrant_url) as (process, address), Client(address) as client:
        answers(client, time.monotonic() + 2 * PATIENCE)
        for question, document_id in (
            ("who built the tower in Paris?", "eiffel"),
            ("which river flows through Paris?", "seine"),
            ("what bread has a crisp crust?", "bread"),
            ("where can I see the Mona Lisa?", "louvre"),
        ):
            found = client.search(question, limit=3)
            assert found.passages[0].passage.document_id == document_id
            assert found.passages[0].probability > 0.5
        answer = client.ask("who built the tower in Paris?").answers[0]
        source = answer.sources[0]
        text = {each.id: each.text for each in DOCUMENTS}[source.passage.document_id]
        assert text[source.start : source.end] == answer.text
        questions = [f"which river flows through Paris, take {n}?" for n in range(40)]
        replies = list(client.ask_many(questions, passages=2))
        assert sorted(each.number for each in replies) == list(range(40))
        assert all(each.answer is not None for each in replies), [each.error for each in replies]
        check_drain(process, client)


def check_drain(process: subprocess.Popen[bytes], client: Client) -> None:
    """Requests in flight at SIGTERM are all answered, and the process ends with 0."""
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(client.ask, f"{QUESTION} number {n}?") for n in range(12)]
        while not any(call.done() for call in calls):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        for call in calls:
            assert call.result(timeout=PATIENCE).index_version.generation == 1
    assert process.wait(timeout=PATIENCE) == 0
