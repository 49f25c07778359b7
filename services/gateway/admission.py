"""How many questions are answered at once, and who waits or is refused beyond that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from realm.errors import Overloaded
from services.gateway.metrics import GatewayMetrics


class Admission:
    """A call of its own is refused when all places are taken. Questions of streams wait for their
    turn, in the order of their arrival; they take half of the places at the most, and are never
    kept from those by calls."""

    def __init__(self, most: int, metrics: GatewayMetrics) -> None:
        self._most = most
        self._bulk = max(1, most // 2)
        self._turns = asyncio.Semaphore(self._bulk)
        self._taken = 0
        self._metrics = metrics

    @property
    def capacity(self) -> int:
        """So many are answered at once at the very most."""
        return self._most + self._bulk

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """:raises Overloaded: if all places are taken."""
        if self._taken >= self._most:
            raise Overloaded(
                f"{self._taken} questions are being answered already; try again in a moment"
            )
        with self._counted():
            yield

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        async with self._turns:
            with self._counted():
                yield

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._taken += 1
        self._metrics.inflight.inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.inflight.dec()
