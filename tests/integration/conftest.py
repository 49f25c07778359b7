"""Real servers for integration tests: Redis, Qdrant Edge, a store in a folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realm.records.store import Store
from tests.integration.redis_process import RedisProcess
from tests.ports import free_port
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.indexer_process import IndexerProcess
    from tests.integration.indexing import Bench

START_SECONDS = 30


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that may be killed and started again."""
    (tmp_path / "redis").mkdir()
    process = RedisProcess(tmp_path / "redis")
    try:
        yield process
    finally:
        process.kill(wipe=False)


@pytest.fixture
def redis_url(redis: RedisProcess) -> str:
    return redis.url


@pytest.fixture(scope="session")
def qdrant_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Qdrant Edge server for the whole session; `qdrant_url` empties it for each test."""
    port = free_port()
    folder = tmp_path_factory.mktemp("qdrant")
    command = [sys.executable, "-m", "services.standalone.qdrant_edge"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--folder", str(folder / "collections"), "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_port(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


@pytest.fixture
def qdrant_url(qdrant_process: str) -> str:
    """An empty Qdrant."""
    from realm.search.vector_index import open_index
    from realm.settings import load_settings

    index = open_index(load_settings(qdrant_url=qdrant_process))
    for collection in index.collections():
        index.drop(collection)
    index.close()
    return qdrant_process


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def make_bench(
    tmp_path: Path, store: Store, redis_url: str, qdrant_url: str
) -> Iterator[Callable[..., Bench]]:
    """Makes benches with a test's own settings, over its own store if it has one; they end with
    the test."""
    from tests.integration.indexing import Bench, bench_settings

    with ExitStack() as ends:

        def make(store: Store = store, **more: object) -> Bench:
            made = Bench(tmp_path, bench_settings(store, redis_url, qdrant_url, **more), store)
            ends.callback(made.close)
            return made

        yield make


@pytest.fixture
def process(make_bench: Callable[..., Bench]) -> Iterator[IndexerProcess]:
    """An indexer in a process of its own."""
    from tests.integration.indexer_process import IndexerProcess

    process = IndexerProcess(make_bench())
    try:
        yield process
    finally:
        process.close()


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, f"Qdrant Edge listens on {port}", START_SECONDS, log.read_text)
