"""Both clients behind the asyncio client's interface, so that one test serves both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from realm.client import AsyncClient, Client

_END = object()


class ThreadedClient:
    """The blocking client, each of its calls in a thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = Client(*arguments, **options)

    async def __aenter__(self) -> ThreadedClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in ("ask_many", "search_many", "watch", "follow", "documents"):
            return lambda *arguments, **options: self._each(method(*arguments, **options))
        return lambda *arguments, **options: asyncio.to_thread(method, *arguments, **options)

    async def _each(self, items: Any) -> AsyncIterator[Any]:
        try:
            while (item := await asyncio.to_thread(next, items, _END)) is not _END:
                yield item
        finally:
            await asyncio.to_thread(items.close)


KINDS = {"blocking": ThreadedClient, "asyncio": AsyncClient}
BOTH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
