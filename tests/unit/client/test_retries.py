"""One budget of retries over all layers: who is away is not asked ever more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from realm.client import AsyncClient
from realm.client.wire import RETRY_TOKENS, server_options
from realm.errors import NotReady
from realm.process.rpc import ErrorInterceptor
from realm.records.store import Store
from realm.v1 import corpus_pb2, corpus_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc, types_pb2
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import PATIENCE, MemorySearch, World, failure, running

ATTEMPTS = 4


class Gateway(retrieval_pb2_grpc.RetrievalServiceServicer):
    """Away, or not."""

    def __init__(self) -> None:
        self.attempts = 0
        self.away = True

    async def RetrievePassages(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.attempts += 1
        if self.away:
            raise NotReady("no generation is live yet")
        return retrieval_pb2.RetrievePassagesResponse()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)


@pytest.fixture
async def indexer() -> AsyncIterator[tuple[MemoryIndexer, str]]:
    async with running_indexer() as found:
        yield found


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    servicer = Gateway()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=server_options())
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_in_an_outage_calls_are_tried_once_and_afterwards_again(
    gateway: tuple[Gateway, str],
) -> None:
    servicer, address = gateway
    async with AsyncClient(address, timeout=PATIENCE) as client:

        async def attempts() -> int:
            before = servicer.attempts
            with pytest.raises(NotReady):
                await client.search("?")
            return servicer.attempts - before

        assert await attempts() == ATTEMPTS
        while servicer.attempts < RETRY_TOKENS // 2:
            await _many(client, 20)
        assert await attempts() == 1
        servicer.away = False
        for _ in range(RETRY_TOKENS):
            await client.search("?")
        servicer.away = True
        assert await attempts() == ATTEMPTS


async def _many(client: AsyncClient, calls: int) -> None:
    outcomes = await asyncio.gather(
        *(client.search("?") for _ in range(calls)), return_exceptions=True
    )
    assert all(isinstance(each, NotReady) for each in outcomes)


async def test_a_gateway_adds_no_retries_of_its_channel_to_its_own(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> None:
    memory, address = indexer
    memory.fault, memory.failures = NotReady("this indexer is a standby"), 1_000
    document = types_pb2.Document(id="a", text="text")
    async with running(world, indexer_url=address, leader_wait_seconds=0.9) as site:
        request = corpus_pb2.UpsertDocumentsRequest(documents=[document])
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{site.gateway.port}", options=[("grpc.enable_retries", 0)]
        )
        stub: Any = corpus_pb2_grpc.CorpusServiceStub(channel)
        error = await failure(stub.UpsertDocuments(request, timeout=PATIENCE))
        await channel.close(None)
    assert isinstance(error, NotReady)
    # One at once, then one every 0.2 s, as the gateway itself tries.
    assert 2 <= 1_000 - memory.failures <= 6
