"""The index as server-sent events: its status now and at every change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from realm.client import AsyncClient
from realm.errors import NotReady, Overloaded, RealmError
from realm.v1.index_pb2 import WatchIndexResponse
from services.web.errors import to_plain_status, told
from services.web.messages import encoded, to_json

PATH = "/v1/index/events"
#: Proxies end what is silent, and who has left is noticed when something is sent.
BEAT_SECONDS = 15.0
BEAT = b": still here\n\n"
#: How long a browser waits before it connects again.
RETRY_MS = 2000


class Events:
    """At most so many streams at once, all ended when the service ends."""

    def __init__(self, client: AsyncClient, most: int, streams: Any) -> None:
        """:param streams: a gauge of how many there are."""
        self._client = client
        self._most = most
        self._gauge = streams
        self._running = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        self._ending.set()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """The stream, once its first event is there: what fails before is an error of the request.

        :raises RealmError: if it cannot begin.
        """
        events = self._events()
        return _chained(await anext(events), events)

    async def _events(self) -> AsyncGenerator[bytes, None]:
        if self._ending.is_set():
            raise NotReady("this process ends; connect again")
        if self._running >= self._most:
            raise Overloaded(f"{self._most} callers follow the index already; try again later")
        self._running += 1
        self._gauge.set(self._running)
        changes: Any = self._client.watch()
        try:
            first = await anext(changes)
            yield b"retry: %d\n\n%s" % (RETRY_MS, _event("status", _response(first)))
            async with aclosing(self._beating(changes)) as events:
                async for event in events:
                    yield event
        finally:
            self._running -= 1
            self._gauge.set(self._running)
            await changes.aclose()

    async def _beating(self, changes: Any) -> AsyncGenerator[bytes, None]:
        """Changes as they come, and beats between them, until the service ends."""
        ending = asyncio.create_task(self._ending.wait())
        change = asyncio.ensure_future(anext(changes))
        try:
            while True:
                await asyncio.wait(
                    {ending, change}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if ending.done():
                    return
                if not change.done():
                    yield BEAT
                    continue
                yield _event("status", _response(change.result()))
                change = asyncio.ensure_future(anext(changes))
        except RealmError as error:
            yield _event("error", encoded(to_plain_status(told(error, "events"))))
        finally:
            ending.cancel()
            change.cancel()
            await asyncio.wait({ending, change})


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for each in rest:
            yield each


def _response(status: Any) -> bytes:
    return to_json(WatchIndexResponse(status=status))


def _event(name: str, data: bytes) -> bytes:
    """JSON has no line breaks of its own."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
