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

    async def guard(self, items: AsyncIterator[Each]) -> AsyncIterator[Each]:
        """The items, until the gateway stops.

        :raises NotReady: then; the client may go on with another gateway.
        """
        closing = asyncio.ensure_future(self._event.wait())
        try:
            while True:
                item = asyncio.ensure_future(anext(items, None))
                try:
                    await asyncio.wait({item, closing}, return_when=asyncio.FIRST_COMPLETED)
                    if not item.done():
                        raise NotReady("this gateway is stopping; call again")
                    found = item.result()
                finally:
                    item.cancel()
                if found is None:
                    return
                yield found
        finally:
            closing.cancel()
