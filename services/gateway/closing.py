"""The gateway's end, as its long calls see it: what is begun ends well, nothing new begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from realm.errors import NotReady

Each = TypeVar("Each")


class Closing:
    """Set once, when the process is told to stop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._event.is_set()

    def begin(self) -> None:
        self._event.set()

    def guard(self, items: AsyncIterator[Each]) -> AsyncIterator[Each]:
        """The items, until the gateway stops.

        :raises NotReady: then; the client may go on with another gateway.
        """
        return until(self._event, items, "this gateway is stopping; call again")


async def until(
    event: asyncio.Event, items: AsyncIterator[Each], why: str, seconds: float | None = None
) -> AsyncIterator[Each]:
    """The items, until the event.

    :param seconds: how long the first item may take; None: as long as it does.
    :raises NotReady: then, saying why; and when the items' source was cancelled, as gRPC does to
        the calls of a channel that is closed. A cancellation let through would end our own call
        without any status (grpc/grpc#29248).
    """
    happened = asyncio.ensure_future(event.wait())
    try:
        while True:
            item = asyncio.ensure_future(anext(items, None))
            both = {item, happened}
            try:
                await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not item.done() or item.cancelled():
                    late = "nothing was heard in time; call again"
                    raise NotReady(why if event.is_set() or item.done() else late)
                found = item.result()
            finally:
                item.cancel()
            if found is None:
                return
            seconds = None
            yield found
    finally:
        happened.cancel()
