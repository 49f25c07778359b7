"""The batch queue as a pure machine, and the batcher around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import InvalidInput, NotReady, Overloaded
from services.gateway.batcher import Batcher, BatchQueue, Item

PATIENCE = 10.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def item(
    loop: asyncio.AbstractEventLoop, work: int, key: str = "a", weight: int = 1, added: float = 0.0
) -> Item[str, int, int]:
    return Item(key, work, weight, added, loop.create_future())


def batch_queue(size: int = 4, wait: float = 1.0, capacity: int = 100) -> BatchQueue[str, int, int]:
    return BatchQueue(size, wait, capacity)


def test_nothing_is_due_without_items() -> None:
    found = batch_queue()
    assert found.due(5.0) is None
    assert found.take() == []


def test_batch_starts_when_full_or_when_its_first_item_waited(
    loop: asyncio.AbstractEventLoop,
) -> None:
    found = batch_queue(size=2, wait=1.0)
    found.add(item(loop, 1, added=10.0))
    assert found.due(10.25) == 0.75
    assert found.due(12.0) == 0
    found.add(item(loop, 2, added=10.5))
    assert found.due(10.5) == 0


def test_keys_do_not_mix_and_the_older_goes_first(loop: asyncio.AbstractEventLoop) -> None:
    found = batch_queue(size=10)
    for work, key in enumerate("aabab"):
        found.add(item(loop, work, key))
    assert found.due(0.0) == 0  # a newer key waits: no more will come of the older
    assert [each.work for each in found.take()] == [0, 1, 3]
    assert [each.work for each in found.take()] == [2, 4]


def test_items_without_a_caller_cost_nothing(loop: asyncio.AbstractEventLoop) -> None:
    found = batch_queue()
    kept, gone = item(loop, 1), item(loop, 2)
    found.add(gone)
    found.add(kept)
    gone.outcome.cancel()
    assert found.take() == [kept]


def test_capacity_counts_only_items_with_a_caller(loop: asyncio.AbstractEventLoop) -> None:
    found = batch_queue(capacity=2)
    first = item(loop, 1)
    found.add(first)
    found.add(item(loop, 2))
    with pytest.raises(Overloaded):
        found.add(item(loop, 3))
    first.outcome.cancel()
    found.add(item(loop, 4))
    assert len(found) == 2


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=40), st.integers(1, 12)
)
def test_every_item_is_taken_once_in_order_within_size(
    items: list[tuple[str, int]], size: int
) -> None:
    loop = asyncio.new_event_loop()
    found = batch_queue(size=size)
    for work, (key, weight) in enumerate(items):
        found.add(item(loop, work, key, weight))
    taken: list[int] = []
    while batch := found.take():
        assert len({each.key for each in batch}) == 1
        assert len(batch) == 1 or sum(each.weight for each in batch) <= size
        assert [each.work for each in batch] == sorted(each.work for each in batch)
        taken += [each.work for each in batch]
    assert sorted(taken) == list(range(len(items)))
    loop.close()


class Panic(BaseException):
    """As native code raises it: no Exception."""


@dataclass
class Doubler:
    """Doubles numbers; `hold` keeps the worker busy, 13 is refused, 14 makes native code panic."""

    batches: list[list[int]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    hold: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def __call__(self, key: str, work: list[int]) -> list[int]:
        self.batches.append(list(work))
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.hold.wait(PATIENCE)
        if 13 in work:
            raise InvalidInput("13 is not doubled here")
        if 14 in work:
            raise Panic("native")
        return [2 * each for each in work]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


def batcher(doubler: Doubler, **changes: Any) -> Batcher[str, int, int]:
    given: dict[str, Any] = {"size": 4, "wait": 0.01, "capacity": 100}
    return Batcher(doubler, executor=ThreadPoolExecutor(1, "one"), **{**given, **changes})


async def test_items_submitted_together_are_computed_together(doubler: Doubler) -> None:
    async with batcher(doubler) as made:
        results = await asyncio.gather(*(made.submit("a", each) for each in range(8)))
    assert results == [0, 2, 4, 6, 8, 10, 12, 14]
    assert doubler.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(doubler.threads) == 1


async def test_a_failing_item_fails_alone(doubler: Doubler) -> None:
    async with batcher(doubler) as made:
        results = await asyncio.gather(
            *(made.submit("a", each) for each in (1, 13, 2, 14, 3)), return_exceptions=True
        )
    assert (results[0], results[2], results[4]) == (2, 4, 6)
    assert isinstance(results[1], InvalidInput)
    assert isinstance(results[3], Panic)


async def test_cancelled_caller_is_dropped_before_work(doubler: Doubler) -> None:
    doubler.hold.clear()
    async with batcher(doubler, size=1) as made:
        busy = asyncio.create_task(made.submit("a", 1))
        assert await asyncio.to_thread(doubler.begun.wait, PATIENCE)
        gone = asyncio.create_task(made.submit("a", 2))
        kept = asyncio.create_task(made.submit("a", 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        doubler.hold.set()
        assert await busy == 2
        assert await kept == 6
    assert doubler.batches == [[1], [3]]


async def test_closing_fails_waiting_items(doubler: Doubler) -> None:
    async with batcher(doubler, wait=PATIENCE) as made:
        waiting = asyncio.create_task(made.submit("a", 1))
        await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await waiting
    with pytest.raises(NotReady):
        await made.submit("a", 1)
    assert doubler.batches == []
