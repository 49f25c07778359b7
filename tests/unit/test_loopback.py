"""Calls to this machine never go through a proxy, whatever the environment says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import start_http_server

from bench.apparatus.s3 import S3Server, variables
from realm.loopback import is_loopback
from realm.records.store import Store
from tests.congruence.edge_server import EdgeServer
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import PATIENCE, MemorySearch, World, running

#: Nobody listens there.
PROXY = "http://127.0.0.1:9"
PROXIES = {
    name: PROXY
    for each in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    for name in (each, each.upper())
}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.8.9.1:1",
        "localhost:50051",
        "LOCALHOST:50051",
        "localhost.:1",
        "[::1]:50051",
        "::1",
        "[::ffff:127.0.0.1]:1",
        "0.0.0.0:50051",
        "https://localhost:443",
        "http://127.0.0.1",
        "http://127.0.0.1:9100/metrics",
        "dns:///localhost:50051",
        "dns://8.8.8.8/localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:50051",
        "unix:/run/realm",
        "unix:///run/realm",
        "unix-abstract:realm",
    ],
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "realm:50051",
        "realm.example",
        "localhost.example:1",
        "127.0.0.1.example:1",
        "10.0.0.1:1",
        "[2001:db8::1]:1",
        "dns:///realm:50051",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "https://[::1",
        "[:1",
    ],
)
def test_addresses_of_others(address: str) -> None:
    assert not is_loopback(address)


ASK = """
import asyncio, sys
from realm.client import AsyncClient, Client
for address in sys.argv[1:]:
    with Client(address, timeout=20) as client:
        print(client.status().corpus_version)
    async def main():
        async with AsyncClient(address, timeout=20) as client:
            print((await client.status()).corpus_version)
    asyncio.run(main())
"""

FORWARD = """
import asyncio, sys
from realm.v1 import index_pb2
from realm.settings.access import Access
from services.gateway.leader import LeaderChannel
async def main():
    leader = LeaderChannel(sys.argv[1], Access())
    found = await leader.index.GetIndexStatus(index_pb2.GetIndexStatusRequest(), timeout=20)
    print(found.status.corpus_version)
    await leader.close()
asyncio.run(main())
"""

SCRAPE = """
import sys
from services.standalone.observer import scrape
print(len(scrape(sys.argv[1])))
"""

STORE = """
import sys
from realm.records.store import Store
from prometheus_client import start_http_server
from tests.congruence.edge_server import EdgeServer
store = Store.open(sys.argv[1])
store.write("a", b"hello")
print(store.read("a").decode())
"""


async def said(script: str, *arguments: str, **more: str) -> list[str]:
    """By a process that has a proxy for everything."""
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *arguments),
        env={**environment, **PROXIES, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 6 * PATIENCE)
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode().split()


async def test_clients_ask_a_gateway_of_this_machine_directly(tmp_path: Path) -> None:
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    async with running_indexer() as (indexer, address), running(world, indexer_url=address) as site:
        indexer.version = 7
        port = site.gateway.port
        addresses = [f"127.0.0.1:{port}", f"localhost:{port}", f"dns:///localhost:{port}"]
        assert await said(ASK, *addresses) == ["7"] * 6


async def test_a_gateway_asks_an_indexer_of_this_machine_directly() -> None:
    async with running_indexer() as (indexer, address):
        indexer.version = 7
        assert await said(FORWARD, address) == ["7"]


async def test_a_bucket_of_this_machine_is_reached_directly() -> None:
    server = S3Server()
    try:
        answer = await said(
            STORE,
            server.url,
            **variables(server.endpoint),
        )
    finally:
        server.stop()
    assert answer == ["hello"]


QDRANT = """
import asyncio, sys
import numpy as np
from realm.search.vector_index import Query, open_index, open_search
from realm.settings import load_settings
settings = load_settings(qdrant_url=sys.argv[1])
index = open_index(settings)
index.create("passages-00000001", 2)
print(len(index.collections()))
index.close()
async def main():
    search = open_search(settings)
    query = Query(np.array([1, 0], np.float32))
    print(len((await search.search("passages-00000001", query, 1, 20.0)).hits))
    await search.close()
asyncio.run(main())
"""


async def test_qdrant_of_this_machine_is_asked_directly(tmp_path: Path) -> None:
    server = EdgeServer(tmp_path / "edge").start()
    try:
        assert await said(QDRANT, f"http://127.0.0.1:{server.port}") == ["1", "0"]
    finally:
        server.stop()


async def test_figures_of_this_machine_are_read_directly() -> None:
    server, thread = start_http_server(0, addr="127.0.0.1")
    try:
        (count,) = await said(SCRAPE, f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=PATIENCE)
    assert int(count) > 0
