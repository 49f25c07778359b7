"""Bodies of requests: of a bounded size, within a bounded memory, received in a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from realm.client.wire import MESSAGE_BYTES
from realm.process.write_memory import ByteBudget
from services.web.errors import WrongRequest
from services.web.messages import JSON

#: Of a question with its filter. Of a write it is what a message may have.
QUESTION_BYTES, WRITE_BYTES = 1 << 20, MESSAGE_BYTES
#: How long a body may be on its way, waiting for room included.
RECEIVE_SECONDS = 30.0


class Bodies:
    """For the event loop."""

    def __init__(self, memory: int) -> None:
        """:param memory: bytes of all bodies together; one fits in any case."""
        self._budget = ByteBudget(max(memory, WRITE_BYTES))

    @asynccontextmanager
    async def json(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """The body. Its memory counts until the block ends.

        :raises WrongRequest: if it is no JSON by its header, or too large, or too slow.
        """
        # A page of another site can send what is no JSON by its header without asking first.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise WrongRequest(f"send Content-Type: {JSON}", 415)
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(RECEIVE_SECONDS):
                    room = self._budget.held(_announced(request, most))
                    taken = await held.enter_async_context(room)
                    body = await _received(request, most)
            except TimeoutError as error:
                words = "the body was not received in time; send it again"
                raise WrongRequest(words, 408) from error
            taken.take(len(body))
            yield body


def _announced(request: Request, most: int) -> int:
    """How many bytes may come."""
    given = request.headers.get("content-length", "")
    length = int(given) if given.isascii() and given.isdecimal() else most
    if length > most:
        raise _too_large(most)
    return length


async def _received(request: Request, most: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _too_large(most)
    except ClientDisconnect as error:
        raise WrongRequest("the connection ended before the body", 400) from error
    return bytes(body)


def _too_large(most: int) -> WrongRequest:
    return WrongRequest(f"the body is too large: {most:,} bytes at the most", 413)
