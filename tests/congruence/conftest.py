"""The back ends: Qdrant Edge as a server always, a Qdrant server where one is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.edge_server import EdgeServer, connect
from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, make_passages

REAL_SERVER = "REALM_TEST_QDRANT_URL"


@pytest.fixture(scope="session")
def edge_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    server = EdgeServer(tmp_path_factory.mktemp("edge") / "qdrant").start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EdgeServer]:
    """A server of the test's own, for those that kill it."""
    server = EdgeServer(tmp_path / "qdrant").start()
    yield server
    server.stop()


@pytest.fixture(params=["edge", "qdrant"])
def qdrant_url(request: pytest.FixtureRequest) -> str:
    """Of each back end; of several peers each, separated by commas."""
    if request.param == "edge":
        server: EdgeServer = request.getfixturevalue("edge_server")
        return f"http://127.0.0.1:{server.port}"
    url = os.environ.get(REAL_SERVER)
    if not url:
        pytest.skip(f"{REAL_SERVER} names no Qdrant server (its gRPC address) to compare with")
    return url


@pytest.fixture
def client(qdrant_url: str) -> Iterator[QdrantClient]:
    address = urlparse(qdrant_url.split(",")[0])
    with closing(connect(address.hostname or "127.0.0.1", address.port or 6334)) as found:
        yield found


def search(
    client: QdrantClient, name: str, query: Any, *, using: str = DENSE, **options: Any
) -> list[models.ScoredPoint]:
    """One query, sent as a batch of one: the only way in which the project searches."""
    options = {"limit": 10, **options}
    if isinstance(query, np.ndarray):
        query = query.tolist()
    (answer,) = client.query_batch_points(
        name, [models.QueryRequest(query=query, using=using, **options)]
    )
    return list(answer.points)


def create(client: QdrantClient, name: str, modifier: models.Modifier | None = None) -> None:
    client.create_collection(
        name,
        vectors_config={DENSE: models.VectorParams(size=SIZE, distance=models.Distance.DOT)},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=modifier)},
    )


@pytest.fixture
def collection(client: QdrantClient) -> Iterator[str]:
    """An empty collection of a name of its own."""
    name = f"passages-{uuid4().hex}"
    create(client, name)
    yield name
    with suppress(Exception):
        client.delete_collection(name)


@pytest.fixture(scope="session")
def passages() -> list[Passage]:
    return make_passages(300)


@pytest.fixture
def loaded(client: QdrantClient, collection: str, passages: list[Passage]) -> str:
    """A collection with all passages."""
    client.upsert(collection, [passage.point() for passage in passages])
    return collection
