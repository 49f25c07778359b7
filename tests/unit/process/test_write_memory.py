"""Writes take memory as far as there is room; the others are not received yet."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.client.wire import MESSAGE_BYTES, channel_options, from_rpc_error, server_options
from realm.errors import DeadlinePassed, InvalidInput
from realm.process import write_memory
from realm.process.rpc import ErrorInterceptor
from realm.process.write_memory import ByteBudget, WriteInterceptor
from realm.v1 import corpus_pb2, corpus_pb2_grpc

PATIENCE = 20.0


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(100, 300))
def test_no_more_is_held_than_there_is_and_all_have_their_turn(
    amounts: list[int], most: int
) -> None:
    async def run() -> list[int]:
        budget = ByteBudget(most)
        seen = []

        async def hold(amount: int) -> None:
            async with budget.held(amount) as held:
                seen.append(budget.free)
                await asyncio.sleep(0)
                held.take(amount // 2)
                await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(hold, amounts))
        assert budget.free == most
        return seen

    seen = asyncio.run(run())
    assert len(seen) == len(amounts)
    assert all(free >= 0 for free in seen)


class Corpus(corpus_pb2_grpc.CorpusServiceServicer):
    """Keeps writes until told to end them; reads are never held up."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()

    async def UpsertDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begun += 1
        await self.end.wait()
        return corpus_pb2.UpsertDocumentsResponse(corpus_version=len(request.documents))


class Running:
    def __init__(self, most: int) -> None:
        self.writes = WriteInterceptor(most)
        self.corpus = Corpus()
        self.server = grpc.aio.server(
            interceptors=[ErrorInterceptor(), self.writes], options=server_options()
        )
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(self.corpus, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options())

    async def __aenter__(self) -> Running:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close(None)
        await self.server.stop(None)

    @property
    def upsert(self) -> Any:
        return corpus_pb2_grpc.CorpusServiceStub(self.channel).UpsertDocuments


def request(text_bytes: int) -> corpus_pb2.UpsertDocumentsRequest:
    made = corpus_pb2.UpsertDocumentsRequest()
    made.documents.add(id="a", text="x" * text_bytes)
    return made


async def until_begun(corpus: Corpus, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while corpus.begun < count:
            await asyncio.sleep(0.005)


async def test_large_writes_wait_where_small_ones_run_beside_one_another() -> None:
    async with Running(MESSAGE_BYTES + MESSAGE_BYTES // 2) as small:
        calls = [small.upsert(request(10), timeout=PATIENCE) for _ in range(20)]
        await until_begun(small.corpus, 20)
        small.corpus.end.set()
        assert [(await call).corpus_version for call in calls] == [1] * 20
        assert small.writes.budget.free == MESSAGE_BYTES + MESSAGE_BYTES // 2
    async with Running(MESSAGE_BYTES + MESSAGE_BYTES // 2) as large:
        size = MESSAGE_BYTES // 2 + 1000
        calls = [large.upsert(request(size), timeout=PATIENCE) for _ in range(3)]
        await until_begun(large.corpus, 1)
        await asyncio.sleep(0.1)
        assert large.corpus.begun == 1
        large.corpus.end.set()
        assert [(await call).corpus_version for call in calls] == [1] * 3


async def test_who_leaves_while_waiting_or_held_gives_all_back() -> None:
    async with Running(MESSAGE_BYTES) as running:
        calls = [running.upsert(request(10), timeout=PATIENCE) for _ in range(3)]
        await until_begun(running.corpus, 1)
        for call in calls:
            call.cancel()
        async with asyncio.timeout(PATIENCE):
            while running.writes.budget.free < MESSAGE_BYTES:
                await asyncio.sleep(0.005)


async def test_a_write_is_kept_no_longer_than_its_call() -> None:
    """Of a written message nothing waits for a collection of garbage, which may come much later."""
    gc.collect()
    gc.disable()
    try:
        async with Running(MESSAGE_BYTES) as running:
            running.corpus.end.set()
            await running.upsert(request(1), timeout=PATIENCE)
            tracemalloc.start()
            for _ in range(10):
                await running.upsert(request(1 << 20), timeout=PATIENCE)
            held, _ = tracemalloc.get_traced_memory()
        assert held < 2 << 20
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_call_without_its_request_or_with_several_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_memory, "RECEIVE_SECONDS", 0.1)
    async with Running(MESSAGE_BYTES) as running:
        method = "/realm.v1.CorpusService/UpsertDocuments"
        call: Any = running.channel.stream_unary(method, None, None)
        silent = call(timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await silent
        assert isinstance(from_rpc_error(caught.value), DeadlinePassed)
        one = request(10).SerializeToString()
        for wrong in ((), (one, one)):
            several = call(iter(wrong), timeout=PATIENCE)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await several
            assert isinstance(from_rpc_error(caught.value), InvalidInput)
        assert running.writes.budget.free == MESSAGE_BYTES
