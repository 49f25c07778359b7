"""Dynamic batches: what waits is computed together in one thread, as soon as that is free.

`BatchQueue` decides, without a clock; `Batcher` is the asyncio shell around it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from bisect import insort
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from realm import tracing
from realm.errors import NotReady

Key = TypeVar("Key", bound=Hashable)
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Item(Generic[Key, Work, Result]):
    """Work of some `weight`; `added` and `started` are in seconds of the loop's clock, `turn` is
    its place in the queue's own time."""

    key: Key
    work: Work
    weight: int
    caller: str
    added: float
    outcome: asyncio.Future[Result]
    started: float = 0.0
    turn: float = 0.0


class BatchQueue(Generic[Key, Work, Result]):
    """Decides which items are computed together, and in which order.

    Callers take turns by weight (start-time fair queueing: Goyal, Vin and Cheng 1996), a caller's
    own items go first come, first served. A batch holds items of one key, at most `size` in weight
    together; a heavier item is a batch of its own. Items whose caller is gone are dropped before
    any work.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: list[Item[Key, Work, Result]] = []
        #: The turn of the item taken last, and where each caller's next one begins.
        self._now = 0.0
        self._next: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item[Key, Work, Result]) -> None:
        item.turn = max(self._now, self._next.get(item.caller, 0.0))
        self._next[item.caller] = item.turn + item.weight
        insort(self._items, item, key=lambda each: each.turn)  # after its equals

    def take(self) -> list[Item[Key, Work, Result]]:
        """The next batch; the rest keeps its order. Empty if nothing waits."""
        batch: list[Item[Key, Work, Result]] = []
        rest: list[Item[Key, Work, Result]] = []
        weight = 0
        for item in self._items:
            if item.outcome.done():
                continue
            fits = not batch or (item.key == batch[0].key and weight + item.weight <= self._size)
            (batch if fits else rest).append(item)
            weight += item.weight if fits else 0
        self._items = rest
        if batch:
            self._now = max(self._now, batch[0].turn)
            self._next = {name: turn for name, turn in self._next.items() if turn > self._now}
        return batch

    def take_all(self) -> list[Item[Key, Work, Result]]:
        items, self._items = self._items, []
        return items


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch that was computed: how many items, their weight, how many seconds it took."""

    items: int
    weight: int
    seconds: float


class Batcher(Generic[Key, Work, Result]):
    """Submits single items and computes them in batches on an executor, one batch at a time.

    >>> batcher = Batcher(compute, size=512, executor=executor)
    >>> async with batcher:
    ...     vector = await batcher.submit(serving, question, weight=len(question))
    """

    def __init__(
        self,
        compute: Callable[[Key, list[Work]], list[Result]],
        *,
        size: int,
        executor: Executor,
        on_batch: Callable[[Computed], None] = lambda computed: None,
    ) -> None:
        self._compute = compute
        self._queue: BatchQueue[Key, Work, Result] = BatchQueue(size)
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

    async def submit(self, key: Key, work: Work, weight: int = 1, caller: str = "") -> Result:
        """Waits for the item's result; a caller cancelled meanwhile costs no work."""
        if self._task is None:
            raise NotReady("the gateway is stopping; ask again")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        item = Item(key, work, weight, caller, loop.time(), outcome)
        self._queue.add(item)
        self._arrived.set()
        result = await outcome
        if tracing.is_recording():
            computed = int((loop.time() - item.started) * 1e9)
            tracing.past_span("wait", item.started - item.added, time.time_ns() - computed)
        return result

    async def _run(self) -> None:
        while True:
            if not len(self._queue):
                self._arrived.clear()
                await self._arrived.wait()
            await asyncio.sleep(0)  # what comes in the same turn of the loop joins the batch
            await self._run_batch(self._queue.take())

    async def _run_batch(self, batch: list[Item[Key, Work, Result]]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
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
        weight = sum(item.weight for item in batch)
        self._on_batch(Computed(len(batch), weight, loop.time() - started))
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
    """One thread: torch's own threads are the process's budget.

    :param niceness: the thread's own, as Linux has it; elsewhere threads have none.
    """

    def __init__(self, name: str, niceness: int = 0) -> None:
        super().__init__(1, thread_name_prefix=name, initializer=_be_nice, initargs=(niceness,))
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


def _be_nice(niceness: int) -> None:
    if niceness and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
