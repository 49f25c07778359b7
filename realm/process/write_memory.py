"""The memory that writes take: each takes its share before its message is received, so that many
large ones at once wait on the wire and not here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from realm.client.wire import MESSAGE_BYTES
from realm.errors import DeadlinePassed, InvalidInput
from realm.process.rpc import Context, Continuation, Handler

#: How long a message may be on its way once there is room for it.
RECEIVE_SECONDS = 30.0
WRITES = "/realm.v1.CorpusService/"


class Held:
    """Bytes of a budget that one message takes."""

    def __init__(self, budget: ByteBudget, amount: int) -> None:
        self._budget = budget
        self.amount = 0
        self.take(amount)

    def take(self, amount: int) -> None:
        """So much from now on."""
        self._budget.free += self.amount - amount
        self.amount = amount
        self._budget.wake()


class ByteBudget:
    """For the event loop."""

    def __init__(self, most: int) -> None:
        self.free = most
        self._changed = asyncio.Event()

    def wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @asynccontextmanager
    async def held(self, amount: int) -> AsyncIterator[Held]:
        """Waits for so much."""
        while self.free < amount:
            await self._changed.wait()
        held = Held(self, amount)
        try:
            yield held
        finally:
            held.take(0)


class WriteInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Receives the single writes of `CorpusService` one after the other, as far as there is room.
    The innermost interceptor: who may not write is refused before.

    On the wire a call with one request is a stream of one: taken as such, it is received when the
    handler asks for it, and not before the handler begins.
    """

    def __init__(self, most: int) -> None:
        """:param most: bytes of all writes together, one message at the least."""
        self.budget = ByteBudget(max(most, MESSAGE_BYTES))

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(handler_call_details)
        single = handler is not None and handler.unary_unary is not None
        if not single or not str(handler_call_details.method).startswith(WRITES):
            return handler
        behaviour = handler.unary_unary

        async def write(requests: AsyncIterator[Any], context: Context) -> Any:
            async with self.budget.held(MESSAGE_BYTES) as held:
                request = await _received(requests)
                held.take(request.ByteSize())
                return await behaviour(request, context)

        return grpc.stream_unary_rpc_method_handler(
            write,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _received(requests: AsyncIterator[Any]) -> Any:
    """The one request. Its stream is read to the end: gRPC's iterator, left in the middle, keeps
    the message in a cycle until garbage is collected, which large messages do nothing to hasten.

    :raises DeadlinePassed: if it does not come in time.
    """
    request = None
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            async for each in requests:
                if request is not None:
                    raise InvalidInput("the call has more than one request; send each by itself")
                request = each
    except TimeoutError as error:
        raise DeadlinePassed(
            f"the request was not received within {RECEIVE_SECONDS:.0f} s; send it again"
        ) from error
    if request is None:
        raise InvalidInput("the call ended before its request; send it again")
    return request
