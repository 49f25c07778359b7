"""Dynamic batches: single items gathered for a moment, computed together in one worker thread.

`Gathering` decides and knows no clock; `Batcher` is the asyncio shell around it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from realm import tracing
from realm.errors import NotReady, Overloaded
from services.gateway.events import happens

Key = TypeVar("Key", bound=Hashable)
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Item(Generic[Key, Work, Result]):
    """Work of some `weight`; `added` and `started` are in seconds of the loop's clock."""

    key: Key
    work: Work
    weight: int
    added: float
    outcome: asyncio.Future[Result]
    started: float = 0.0


class Gathering(Generic[Key, Work, Result]):
    """Decides which items are computed together and when. First come, first served.

    A batch holds items of one key only, of `size` in weight together; an item heavier than that
    is a batch of its own. Items whose caller is gone are dropped before any work.
    """

    def __init__(self, size: int, wait: float, capacity: int) -> None:
        self._size = size
        self._wait = wait
        self._capacity = capacity
        self._items: deque[Item[Key, Work, Result]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item[Key, Work, Result]) -> None:
        """:raises Overloaded: if as many items wait as may."""
        if len(self._items) >= self._capacity:
            self._drop_gone()
        if len(self._items) >= self._capacity:
            raise Overloaded(f"{self._capacity} questions wait already; try again in a moment")
        self._items.append(item)

    def due(self, now: float) -> float | None:
        """Seconds until a batch should start, 0 for at once; None if nothing waits."""
        self._drop_gone()
        if not self._items:
            return None
        head = self._items[0]
        if sum(item.weight for item in self._items if item.key == head.key) >= self._size:
            return 0.0
        if any(item.key != head.key for item in self._items):
            # Nothing of the head's key will come any more: a newer generation has taken over.
            return 0.0
        return max(0.0, head.added + self._wait - now)

    def take(self) -> list[Item[Key, Work, Result]]:
        """The next batch; the rest keeps its order. Empty if nobody waits any more."""
        self._drop_gone()
        batch: list[Item[Key, Work, Result]] = []
        rest: deque[Item[Key, Work, Result]] = deque()
        weight = 0
        for item in self._items:
            fits = not batch or (item.key == batch[0].key and weight + item.weight <= self._size)
            (batch if fits else rest).append(item)
            weight += item.weight if fits else 0
        self._items = rest
        return batch

    def take_all(self) -> list[Item[Key, Work, Result]]:
        items, self._items = list(self._items), deque()
        return items

    def _drop_gone(self) -> None:
        self._items = deque(item for item in self._items if not item.outcome.done())


class Batcher(Generic[Key, Work, Result]):
    """Submits single items and computes them in batches on an executor, one batch at a time.

    >>> batcher = Batcher(compute, size=32, wait=0.002, capacity=256, executor=executor)
    >>> async with batcher:
    ...     vector = await batcher.submit(serving, question)
    """

    def __init__(
        self,
        compute: Callable[[Key, list[Work]], list[Result]],
        *,
        size: int,
        wait: float,
        capacity: int,
        executor: Executor,
        on_batch: Callable[[int], None] = lambda items: None,
    ) -> None:
        self._compute = compute
        self._gathering: Gathering[Key, Work, Result] = Gathering(size, wait, capacity)
        self._executor = executor
        self._on_batch = on_batch
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher[Key, Work, Result]:
        self._task = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for item in self._gathering.take_all():
            if not item.outcome.done():
                item.outcome.set_exception(NotReady("the gateway is stopping; ask again"))

    async def submit(self, key: Key, work: Work, weight: int = 1) -> Result:
        """Waits for the item's result; whoever is cancelled meanwhile costs no work.

        :raises Overloaded: if too many items wait already.
        """
        if self._task is None:
            raise NotReady("the gateway is stopping; ask again")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        item = Item(key, work, weight, loop.time(), outcome)
        self._gathering.add(item)
        self._arrived.set()
        result = await outcome
        if tracing.recording():
            computed = int((loop.time() - item.started) * 1e9)
            tracing.past_span("wait", item.started - item.added, time.time_ns() - computed)
        return result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._arrived.clear()
            pause = self._gathering.due(loop.time())
            if pause == 0:
                await self._work_off(self._gathering.take())
            else:
                await happens(self._arrived, pause)

    async def _work_off(self, batch: list[Item[Key, Work, Result]]) -> None:
        if not batch:
            return
        self._on_batch(sum(item.weight for item in batch))
        started = asyncio.get_running_loop().time()
        for item in batch:
            item.started = started
        try:
            results = await self._computed(batch)
        except asyncio.CancelledError:
            for item in batch:
                item.outcome.cancel()
            raise
        except BaseException as error:  # a panic of native code is no Exception
            await self._isolate(batch, error)
            return
        for item, result in zip(batch, results, strict=True):
            if not item.outcome.done():
                item.outcome.set_result(result)

    async def _computed(self, batch: list[Item[Key, Work, Result]]) -> list[Result]:
        work = [item.work for item in batch]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._compute, batch[0].key, work)

    async def _isolate(self, batch: list[Item[Key, Work, Result]], error: BaseException) -> None:
        """One item's fault must not be its neighbours': each is computed by itself."""
        if len(batch) > 1:
            for item in batch:
                if not item.outcome.done():
                    await self._work_off([item])
        elif not batch[0].outcome.done():
            batch[0].outcome.set_exception(error)
