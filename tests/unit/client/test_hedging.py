"""A read that takes long is sent to another gateway as well, and the first answer counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.client import document
from realm.client.hedging import COPIES, COPIES_PER_ANSWER, Hedging
from realm.client.wire import server_options
from realm.errors import DeadlinePassed, InvalidInput, NotReady, Overloaded, RealmError
from realm.process.rpc import ErrorInterceptor
from realm.v1 import corpus_pb2, corpus_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc
from tests.unit.client.clients import BOTH

SECONDS = 20.0
SOON = 0.02

Behaviour = Callable[[], Awaitable[None]]


class Gateways(retrieval_pb2_grpc.RetrievalServiceServicer, corpus_pb2_grpc.CorpusServiceServicer):
    """Two servers, one of which gets each attempt; `behave` says what the next attempts do, in the
    order in which they come, `otherwise` what all further ones do."""

    def __init__(self) -> None:
        self.behave: list[Behaviour] = []
        self.otherwise: Behaviour = self.answer
        self.asked: Counter[str] = Counter()
        self.attempts = 0
        self.cancelled = asyncio.Event()
        self.released = asyncio.Event()
        self.targets: list[str] = []

    @property
    def address(self) -> str:
        return f"ipv4:{','.join(self.targets)}"

    async def RetrievePassages(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked[context.peer()] += 1
        self.attempts += 1
        await (self.behave.pop(0) if self.behave else self.otherwise)()
        return retrieval_pb2.RetrievePassagesResponse()

    async def UpsertDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.attempts += 1
        await self.hold_a_while()
        return corpus_pb2.UpsertDocumentsResponse()

    async def hold(self) -> None:
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def hold_a_while(self) -> None:
        await asyncio.sleep(5 * SOON)

    async def answer(self) -> None:
        pass

    @staticmethod
    def fail(error: RealmError) -> Behaviour:
        async def failing() -> None:
            raise error

        return failing


@pytest.fixture
async def gateways() -> AsyncIterator[Gateways]:
    servicer = Gateways()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=server_options())
            retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, server)
            corpus_pb2_grpc.add_CorpusServiceServicer_to_server(servicer, server)
            servicer.targets.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        yield servicer
        servicer.released.set()


@BOTH
async def test_the_other_gateway_s_answer_counts_and_the_slow_one_is_left(
    kind: Any, gateways: Gateways
) -> None:
    async with (
        kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client,
        asyncio.timeout(SECONDS),
    ):
        while len(gateways.asked) < 2:  # until there is a connection to both
            await client.search("?")
        gateways.asked.clear()
        gateways.behave = [gateways.hold, gateways.answer]
        await client.search("?")
        await gateways.cancelled.wait()
    assert len(gateways.asked) == 2


@BOTH
async def test_what_is_answered_in_time_is_sent_once(kind: Any, gateways: Gateways) -> None:
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SECONDS) as client:
        for _ in range(5):
            await client.search("?")
    assert gateways.attempts == 5


@BOTH
async def test_without_leave_nothing_is_sent_twice(kind: Any, gateways: Gateways) -> None:
    gateways.behave = [gateways.hold_a_while]
    async with kind(gateways.address, timeout=SECONDS) as client:
        await client.search("?")
    assert gateways.attempts == 1


@BOTH
async def test_a_write_is_never_sent_twice_at_once(kind: Any, gateways: Gateways) -> None:
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client:
        await client.upsert([document("a", "text")])
    assert gateways.attempts == 1


@BOTH
async def test_a_gateway_that_refuses_the_copy_leaves_the_first_answer(
    kind: Any, gateways: Gateways
) -> None:
    async def refuse() -> None:
        gateways.released.set()
        raise Overloaded("too much to do")

    gateways.behave = [gateways.hold, refuse]
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client:
        await client.search("?")


@BOTH
async def test_what_no_gateway_would_answer_is_said_at_once(kind: Any, gateways: Gateways) -> None:
    gateways.behave = [gateways.hold, gateways.fail(InvalidInput("no question", field="question"))]
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client:
        with pytest.raises(InvalidInput):
            await client.search("?")


@BOTH
async def test_the_deadline_is_that_of_the_call(kind: Any, gateways: Gateways) -> None:
    gateways.behave = [gateways.hold] * 2
    async with kind(gateways.address, timeout=10 * SOON, hedge_after=SOON) as client:
        with pytest.raises(DeadlinePassed):
            await client.search("?")
    assert gateways.attempts == 2


@BOTH
async def test_in_an_outage_nothing_is_sent_twice(kind: Any, gateways: Gateways) -> None:
    gateways.otherwise = gateways.fail(NotReady("no generation is live yet", waited="1"))
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client:
        for _ in range(int(COPIES)):
            with pytest.raises(NotReady):
                await client.search("?")
        before = gateways.attempts
        gateways.otherwise = gateways.hold_a_while
        await client.search("?")
    assert gateways.attempts == before + 1


@BOTH
async def test_who_is_cancelled_leaves_no_call_behind(kind: Any, gateways: Gateways) -> None:
    if kind.__name__ == "ThreadedClient":
        pytest.skip("a thread cannot be cancelled")
    gateways.behave = [gateways.hold] * 2
    async with kind(gateways.address, timeout=SECONDS, hedge_after=SOON) as client:
        asking = asyncio.create_task(client.search("?"))
        async with asyncio.timeout(SECONDS):
            while gateways.attempts < 2:
                await asyncio.sleep(SOON)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await gateways.cancelled.wait()


@given(slow=st.lists(st.booleans(), max_size=200))
def test_after_a_few_at_most_one_call_in_ten_is_sent_twice(slow: list[bool]) -> None:
    hedging, sent = Hedging(0.0), 0

    async def all_calls() -> None:
        nonlocal sent
        for takes_long in slow:

            async def send(turns: int = 5 if takes_long else 0) -> None:
                nonlocal sent
                sent += 1
                for _ in range(turns):
                    await asyncio.sleep(0)

            await hedging.call_async(send)

    asyncio.run(all_calls())
    copies = sent - len(slow)
    assert copies <= min(sum(slow), COPIES + COPIES_PER_ANSWER * len(slow))
    assert copies >= min(sum(slow), COPIES)
