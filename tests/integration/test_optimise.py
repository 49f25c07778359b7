"""HNSW on one machine: built before a large collection goes live, while another one is searched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from realm.corpus.passages import Passage
from realm.records.weighing import Weighing
from realm.search.vector_index import Query, open_index
from realm.settings import load_settings
from tests.congruence.edge_server import EdgeServer
from tests.waiting import until

#: 24 MB of vectors: the engine's own threshold lies below that.
COUNT, SIZE = 6_000, 1_024
DEPTH = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EdgeServer]:
    server = EdgeServer(tmp_path / "qdrant", options=["--optimize-above", "1000"]).start()
    yield server
    server.stop()


def passages(count: int) -> list[Passage]:
    return [
        Passage(f"00000000-0000-5000-8000-{n:012d}", f"d{n}", 1, 0, 0, 4, "", "text", [], [], "h")
        for n in range(count)
    ]


def test_a_large_collection_is_indexed_while_another_one_is_searched(server: EdgeServer) -> None:
    rng = np.random.default_rng(5)
    topics = rng.normal(size=(40, SIZE))
    vectors = (topics[rng.integers(0, 40, COUNT)] + rng.normal(size=(COUNT, SIZE))).astype("f4")
    queries = vectors[rng.integers(0, COUNT, 50)] + rng.normal(size=(50, SIZE)).astype("f4") / 4
    with closing(open_index(load_settings(qdrant_url=f"http://127.0.0.1:{server.port}"))) as index:
        index.create("small", SIZE)
        index.upsert("small", passages(100), vectors[:100], Weighing(1.0, 1.2))
        index.optimise("small")
        assert not index.is_optimising("small"), "too small to need it"
        index.create("large", SIZE)
        index.upsert("large", passages(COUNT), vectors, Weighing(1.0, 1.2))

        index.optimise("large")
        answered = 0
        with ThreadPoolExecutor(1) as beside:
            while index.is_optimising("large"):
                asked = beside.submit(index.search, "small", [Query(queries[0])], DEPTH)
                assert len(asked.result(timeout=10)[0]) == DEPTH
                answered += 1
        assert answered, "it was indexed before anybody could ask"
        found = index.search("large", [Query(each) for each in queries], DEPTH)
    graphs = (server.folder / "collections" / "large" / "segments").glob("*/vector_index-*/graph*")
    assert until(lambda: list(graphs), "a graph on disk")
    server.kill()
    server.start()
    with closing(server.client()) as client:
        assert client.count("large").count == COUNT, "lost with the process that indexed it"
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :DEPTH]
    hits = [
        len({int(hit.passage.document_id[1:]) for hit in row} & set(best))
        for row, best in zip(found, exact.tolist(), strict=True)
    ]
    assert np.mean(hits) / DEPTH >= 0.95
