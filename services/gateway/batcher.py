"""Dynamic batches: single items collected for a moment and computed together in one thread.

`BatchQueue` decides, without a clock; `Batcher` is the asyncio shell around it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from realm import tracing
from realm.errors import NotReady, Overloaded
from services.gateway.waiting import wait_for_event

Key = TypeVar("Key", bound=Hashable)
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(slots=True)
class Item(Generic[Key, Work, Result]):
    """Work of some `weight`; `added` and `started` are in seconds of the loop's clock."""

    key: Key
    work: Work
    weight: int
    added: float
    outcome: asyncio.Future[Result]
    started: float = 0.0


class BatchQueue(Generic[Key, Work, Result]):
    """Decides which items are computed together and when; first come, first served.

    A batch holds items of one key, at most `size` in weight together; a heavier item is a batch
    of its own. Items whose caller is gone are dropped before any work.
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
            self._drop_cancelled()
        if len(self._items) >= self._capacity:
            raise Overloaded(f"{self._capacity} questions wait already; try again in a moment")
        self._items.append(item)

    def due(self, now: float) -> float | None:
        """Seconds until a batch should start, 0 for now; None if nothing waits."""
        self._drop_cancelled()
        if not self._items:
            return None
        head = self._items[0]
        if sum(item.weight for item in self._items if item.key == head.key) >= self._size:
            return 0.0
        if any(item.key != head.key for item in self._items):
            # No more items of the head's key will come: a newer generation has taken over.
            return 0.0
        return max(0.0, head.added + self._wait - now)

    def take(self) -> list[Item[Key, Work, Result]]:
        """The next batch; the rest keeps its order. Empty if nothing waits."""
        self._drop_cancelled()
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

    def _drop_cancelled(self) -> None:
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
        self._queue: BatchQueue[Key, Work, Result] = BatchQueue(size, wait, capacity)
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
        for item in self._queue.take_all():
            if not item.outcome.done():
                item.outcome.set_exception(NotReady("the gateway is stopping; ask again"))

    async def submit(self, key: Key, work: Work, weight: int = 1) -> Result:
        """Waits for the item's result; a caller cancelled meanwhile costs no work.

        :raises Overloaded: if too many items wait already.
        """
        if self._task is None:
            raise NotReady("the gateway is stopping; ask again")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        item = Item(key, work, weight, loop.time(), outcome)
        self._queue.add(item)
        self._arrived.set()
        result = await outcome
        if tracing.is_recording():
            computed = int((loop.time() - item.started) * 1e9)
            tracing.past_span("wait", item.started - item.added, time.time_ns() - computed)
        return result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._arrived.clear()
            pause = self._queue.due(loop.time())
            if pause == 0:
                await self._run_batch(self._queue.take())
            else:
                await wait_for_event(self._arrived, pause)

    async def _run_batch(self, batch: list[Item[Key, Work, Result]]) -> None:
        if not batch:
            return
        self._on_batch(sum(item.weight for item in batch))
        started = asyncio.get_running_loop().time()
        for item in batch:
            item.started = started
        try:
            results = await self._compute_batch(batch)
        except asyncio.CancelledError:
            for item in batch:
                item.outcome.cancel()
            raise
        except BaseException as error:  # a panic of native code is no Exception
            await self._compute_individually(batch, error)
            return
        for item, result in zip(batch, results, strict=True):
            if not item.outcome.done():
                item.outcome.set_result(result)

    async def _compute_batch(self, batch: list[Item[Key, Work, Result]]) -> list[Result]:
        work = [item.work for item in batch]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._compute, batch[0].key, work)

    async def _compute_individually(
        self, batch: list[Item[Key, Work, Result]], error: BaseException
    ) -> None:
        """Computes each item by itself, so that one item's fault fails no other."""
        if len(batch) > 1:
            for item in batch:
                if not item.outcome.done():
                    await self._run_batch([item])
        elif not batch[0].outcome.done():
            batch[0].outcome.set_exception(error)


class ComputeThread(ThreadPoolExecutor):
    """One thread: torch's own threads are the process's budget."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="compute")
        self._lock = threading.Lock()
        self._pending = 0
        self._since = 0.0

    def submit(
        self, work: Callable[..., Result], /, *arguments: Any, **named: Any
    ) -> Future[Result]:
        with self._lock:
            if not self._pending:
                self._since = time.monotonic()
            self._pending += 1
        future = super().submit(work, *arguments, **named)
        future.add_done_callback(self._finished)
        return future

    @property
    def stalled_seconds(self) -> float:
        """For how long work has been waiting without any being finished."""
        with self._lock:
            return time.monotonic() - self._since if self._pending else 0.0

    def _finished(self, _future: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1
            self._since = time.monotonic()
