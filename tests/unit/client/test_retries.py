"""One budget of retries over all layers: who is away is not asked ever more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
#: For which a server that ends does not look at its calls: enough for some to arrive.
BUSY_SECONDS = 0.3


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
    server, address = await _start(servicer)
    yield servicer, address
    await server.stop(None)


async def _start(servicer: Gateway) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=server_options())
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@contextmanager
def loop_of_its_own() -> Iterator[asyncio.AbstractEventLoop]:
    """In a thread: what keeps it busy keeps nobody else waiting."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


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


async def test_what_an_ending_server_has_not_looked_at_goes_to_another(
    gateway: tuple[Gateway, str],
) -> None:
    """gRPC cancels what waits in a server that ends; its event loop may be busy just then."""
    stays, address = gateway
    ending, busy = Gateway(), threading.Event()
    stays.away = ending.away = False

    async def end(server: grpc.aio.Server) -> None:
        busy.set()
        time.sleep(BUSY_SECONDS)
        await server.stop(PATIENCE)

    with loop_of_its_own() as loop:
        started = asyncio.run_coroutine_threadsafe(_start(ending), loop)
        server, other = await asyncio.wrap_future(started)
        async with AsyncClient(f"ipv4:{address},{other}", timeout=PATIENCE) as client:
            async with asyncio.timeout(PATIENCE):
                while not (stays.attempts and ending.attempts):
                    await client.search("?")
            ended = asyncio.run_coroutine_threadsafe(end(server), loop)
            await asyncio.to_thread(busy.wait, PATIENCE)
            await asyncio.gather(*(client.search("?") for _ in range(20)))
            await asyncio.wrap_future(ended)


class Slow(Gateway):
    """Answers nobody."""

    async def RetrievePassages(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.attempts += 1
        await asyncio.sleep(PATIENCE)


async def test_a_call_that_its_caller_cancels_is_made_once() -> None:
    servicer = Slow()
    server, address = await _start(servicer)
    async with AsyncClient(address, timeout=PATIENCE) as client:
        call = asyncio.create_task(client.search("?"))
        async with asyncio.timeout(PATIENCE):
            while not servicer.attempts:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.5)  # the first retry would come after 0.1 s
        assert servicer.attempts == 1
    await server.stop(None)


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
