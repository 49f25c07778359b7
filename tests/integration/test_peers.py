"""Three peers, one of which is away, frozen or has lost its collections.

Each peer is a Qdrant Edge server with the same points: what a cluster of them replicates is written
to each here.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient

from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotFound
from realm.records.weighing import Weighing
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.qdrant import connections
from realm.search.qdrant.index import QdrantIndex, QdrantSearch
from realm.search.vector_index import ChangeHooks, Query
from realm.settings import Settings, load_settings
from tests.congruence.edge_server import EdgeServer
from tests.silent import silent_port
from tests.waiting import until

COLLECTION = "passages-00000001"
SIZE = 4
WEIGHING = Weighing(1.2, 10.0)
#: Of every caller here.
PATIENCE = 20.0


def passage(number: int) -> Passage:
    return Passage(
        passage_id=f"00000000-0000-0000-0000-{number:012d}", document_id=str(number),
        document_version=1, ordinal=0, title="", text=f"text {number}", title_ids=[], body_ids=[],
        start=0, end=6, content_hash="", terms=[number], term_counts=[1], metadata={},
    )  # fmt: skip


VECTORS = np.eye(SIZE, dtype=np.float32)
PASSAGES = [passage(number + 1) for number in range(SIZE)]


def open_index(*ports: int) -> QdrantIndex:
    return QdrantIndex(settings(*ports), ChangeHooks())


def settings(*ports: int) -> Settings:
    return load_settings(qdrant_url=", ".join(f"http://127.0.0.1:{port}" for port in ports))


def fill(server: EdgeServer) -> None:
    with closing(open_index(server.port)) as index:
        index.create(COLLECTION, SIZE)
        index.upsert(COLLECTION, PASSAGES, VECTORS, WEIGHING)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[list[EdgeServer]]:
    servers = [EdgeServer(tmp_path / f"peer-{number}") for number in range(2)]
    with ExitStack() as stack:
        for each in servers:
            each.start()
            stack.callback(each.stop)
            fill(each)
        yield servers


@contextmanager
def frozen(server: EdgeServer) -> Iterator[None]:
    """It keeps its connections, and answers nothing."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


async def first(search: QdrantSearch) -> str:
    found = await search.search(COLLECTION, Query(VECTORS[1]), 1, PATIENCE)
    (hit,) = found.hits
    return hit.passage.document_id


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is at home at the first peer: the one that fails here."""
    monkeypatch.setattr("random.randrange", lambda count: 0)


async def test_a_search_goes_on_at_another_peer_when_its_own_is_frozen_and_comes_back(
    peers: list[EdgeServer], home: None
) -> None:
    search = QdrantSearch(settings(*(each.port for each in peers)))
    heard: dict[str, bool] = {}
    search.watch_peers(heard.__setitem__)
    own = f"http://127.0.0.1:{peers[0].port}"
    try:
        assert await first(search) == "2"
        with frozen(peers[0]):
            assert await first(search) == "2"
            assert not heard[own]
            # From then on nobody waits for it: many are answered before its pause is over.
            for _ in range(20):
                assert await first(search) == "2"
        async with asyncio.timeout(PATIENCE):
            while not heard[own]:
                assert await first(search) == "2"
                await asyncio.sleep(0.1)
    finally:
        await search.close()


@pytest.mark.parametrize("away", ["ended", "silent"])
async def test_a_search_finds_a_peer_that_answers(
    peers: list[EdgeServer], home: None, away: str
) -> None:
    with ExitStack() as stack:
        peers[0].stop()
        port = peers[0].port if away == "ended" else stack.enter_context(silent_port())
        search = QdrantSearch(settings(port, peers[1].port))
        try:
            assert await first(search) == "2"
        finally:
            await search.close()


async def test_no_peer_takes_more_of_a_callers_time_than_its_share(
    peers: list[EdgeServer], home: None
) -> None:
    with silent_port() as silent:
        search = QdrantSearch(settings(silent, peers[1].port))
        try:
            found = await search.search(COLLECTION, Query(VECTORS[1]), 1, timeout=1.0)
            assert [each.passage.document_id for each in found.hits] == ["2"]
        finally:
            await search.close()


async def test_a_collection_is_gone_only_if_no_peer_has_it(
    peers: list[EdgeServer], home: None
) -> None:
    """One that lost its volume knows of none."""
    with closing(open_index(peers[0].port)) as lost:
        lost.drop(COLLECTION)
    ports = [each.port for each in peers]
    search = QdrantSearch(settings(*ports))
    try:
        assert await first(search) == "2"
        with closing(open_index(*ports)) as index:
            assert index.exists(COLLECTION)
            assert index.count(COLLECTION) == len(PASSAGES)
            assert not index.exists("passages-00000009")
        with pytest.raises(NotFound):
            await search.search("passages-00000009", Query(VECTORS[0]), 1, PATIENCE)
    finally:
        await search.close()


def test_a_peer_that_came_back_is_asked_again_though_home_answers(
    peers: list[EdgeServer], home: None
) -> None:
    with closing(connections.Connections(settings(*(each.port for each in peers)))) as opened:
        assert len(opened.each(QdrantClient.get_collections)) == 2
        peers[1].stop()
        assert len(opened.each(QdrantClient.get_collections)) == 1
        peers[1].start()

        def all_are_asked() -> bool:
            opened.look(QdrantClient.get_collections)
            return len(opened.each(QdrantClient.get_collections)) == 2

        until(all_are_asked, "an answer of the peer that came back")


def test_a_peer_alone_with_its_opinion_proves_no_loss(peers: list[EdgeServer], home: None) -> None:
    """It lost its volume, and the others are away: nobody knows whether the collection is there."""
    with closing(open_index(peers[0].port)) as lost:
        lost.drop(COLLECTION)
    peers[1].stop()
    alone = open_index(peers[0].port, peers[1].port, 1)
    with closing(alone), pytest.raises(DependencyUnavailable):
        alone.exists(COLLECTION)
    # Most of them lack it: the one that is away holds nothing up.
    with closing(open_index(peers[0].port, peers[0].port, 1)) as index:
        assert not index.exists(COLLECTION)


class Recorder(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """A peer that refuses everything, and notes how long each call was ready to wait."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        def refuse(_: Any, context: Any) -> None:
            self.seconds[details.method] = context.time_remaining()
            context.abort(grpc.StatusCode.UNAVAILABLE, "not today")

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_no_call_waits_for_a_peer_for_as_long_as_for_the_last_one(
    peers: list[EdgeServer], home: None
) -> None:
    recorder, server = Recorder(), grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    changes: list[Callable[[QdrantIndex], object]] = [
        lambda index: index.point_alias(COLLECTION),
        lambda index: index.optimise(COLLECTION),
        lambda index: index.upsert(COLLECTION, PASSAGES, VECTORS, WEIGHING),
        lambda index: index.delete_older(COLLECTION, {"2": 1}),
        lambda index: index.drop("nobody's"),
        lambda index: index.count(COLLECTION),
    ]
    try:
        for change in changes:
            with closing(open_index(port, peers[0].port)) as index:
                change(index)
    finally:
        server.stop(None).wait(PATIENCE)
    assert len(recorder.seconds) >= 5
    # gRPC rounds a deadline up on its way, so the peer may see more than the caller gave.
    assert max(recorder.seconds.values()) < connections.TIMEOUT_SECONDS


async def test_no_more_is_claimed_than_the_copy_that_was_searched_proves(
    peers: list[EdgeServer], home: None
) -> None:
    """Its own peer missed the newest write, and takes itself to be whole."""
    for each in peers:
        with closing(open_index(each.port)) as index:
            index.mark(COLLECTION, 1)
    with closing(open_index(peers[1].port)) as newer:
        newer.upsert(COLLECTION, [passage(9)], VECTORS[:1], WEIGHING)
        newer.mark(COLLECTION, 2)

    async def search(*servers: EdgeServer) -> tuple[int | None, set[str]]:
        opened = QdrantSearch(settings(*(each.port for each in servers)))
        try:
            found = await opened.search(COLLECTION, Query(VECTORS[0]), 10, PATIENCE, version=2)
            return found.version, {hit.passage.document_id for hit in found.hits}
        finally:
            await opened.close()

    version, seen = await search(*peers)
    assert version == 2
    assert "9" in seen
    version, seen = await search(peers[0])
    assert version == 1
    assert "9" not in seen


async def test_what_a_copy_proves_is_no_more_than_what_the_collection_is_known_to_hold(
    peers: list[EdgeServer],
) -> None:
    """The mark of a write that is half acknowledged may be there already."""
    with closing(open_index(peers[0].port)) as index:
        index.mark(COLLECTION, 7)
    search = QdrantSearch(settings(peers[0].port))
    try:
        for version in (5, 6, 6):
            found = await search.search(COLLECTION, Query(VECTORS[0]), 1, PATIENCE, version)
            assert found.version == version
    finally:
        await search.close()


def test_a_mark_is_no_passage_and_a_late_one_takes_nothing_back(peers: list[EdgeServer]) -> None:
    with closing(open_index(peers[0].port)) as index:
        assert index.marked(COLLECTION) == 0
        index.mark(COLLECTION, 7)
        index.mark(COLLECTION, 5)
        assert index.marked(COLLECTION) == 7
        assert index.count(COLLECTION) == len(PASSAGES)
        by_words = SparseVector([1, 2, 3, 4], [1.0] * SIZE)
        for way in Retrieval:
            asked = Query(VECTORS.sum(axis=0), by_words, way)
            (hits,) = index.search(COLLECTION, [asked], 10)
            assert len(hits) == len(PASSAGES)


def test_a_copy_that_lacks_changes_is_not_believed_where_another_has_them(
    peers: list[EdgeServer], home: None
) -> None:
    for server, version in zip(peers, (6, 7), strict=True):
        with closing(open_index(server.port)) as one:
            one.mark(COLLECTION, version)
            if version == 7:
                one.delete_older(COLLECTION, {"1": 2})
    ids = [each.passage_id for each in PASSAGES]
    with closing(open_index(*(each.port for each in peers))) as index:
        index.expect(COLLECTION, 6)
        assert index.count(COLLECTION) == SIZE
        index.expect(COLLECTION, 7)
        assert index.count(COLLECTION) == SIZE - 1
        assert index.count_of(COLLECTION, "1", "2") == 1
        assert index.versions(COLLECTION, ids).keys() == set(ids[1:])
        # Where every copy lacks it, the newest one has to do: a mark may have been lost.
        index.expect(COLLECTION, 8)
        assert index.count(COLLECTION) == SIZE - 1


async def test_it_is_told_when_no_peer_answers(peers: list[EdgeServer]) -> None:
    ports = [each.port for each in peers]
    for each in peers:
        each.stop()
    search = QdrantSearch(settings(*ports))
    try:
        with pytest.raises(DependencyUnavailable):
            await first(search)
    finally:
        await search.close()


def test_changes_and_looks_go_on_without_the_peer_that_is_frozen(
    peers: list[EdgeServer], home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a refresh does: a new collection, its points, its count, the alias. Of three peers two
    answer, as a cluster needs; here they are one server, which knows what both would."""
    monkeypatch.setattr(connections, "LOOK_SECONDS", 1)
    monkeypatch.setattr(connections, "CHANGE_SECONDS", 1)
    ports = (peers[0].port, peers[1].port, peers[1].port)
    with closing(open_index(*ports)) as index, frozen(peers[0]):
        index.create("passages-00000002", SIZE)
        index.upsert("passages-00000002", PASSAGES, VECTORS, WEIGHING)
        index.point_alias("passages-00000002")
        assert index.count("passages-00000002") == len(PASSAGES)
        assert index.alias() == "passages-00000002"
    with closing(open_index(peers[1].port)) as there:
        assert there.count("passages-00000002") == len(PASSAGES)


def test_what_a_creation_made_before_it_failed_is_not_made_anew(
    peers: list[EdgeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a creation that waits for a peer never ends: each try would delete the last one's."""
    with closing(open_index(peers[1].port)) as index:
        name = "passages-00000003"
        fails = _failing(index._index_payload)
        monkeypatch.setattr(index, "_index_payload", fails)
        with pytest.raises(DependencyUnavailable):
            index.create(name, SIZE)
        monkeypatch.setattr(index, "_delete", _refuse)
        index.create(name, SIZE)
        assert index.count(name) == 0
        monkeypatch.undo()
        # Once made, it may have been filled by halves: then it is replaced.
        index.upsert(name, PASSAGES, VECTORS, WEIGHING)
        index.create(name, SIZE)
        assert index.count(name) == 0


def _failing(method: Callable[..., None]) -> Callable[..., None]:
    """It fails the first time, as at a deadline."""
    tries: list[float] = []

    def tried(*arguments: object) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise DependencyUnavailable("Qdrant does not serve: DEADLINE_EXCEEDED")
        method(*arguments)

    return tried


def _refuse(collection: str) -> None:
    raise AssertionError(f"{collection} is deleted")
