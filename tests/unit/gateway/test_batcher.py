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

from realm.errors import InvalidInput, NotReady
from services.gateway.batcher import Batcher, BatchQueue, Computed, Item

PATIENCE = 10.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def item(
    loop: asyncio.AbstractEventLoop, work: int, key: str = "a", weight: int = 1, caller: str = ""
) -> Item[str, int, int]:
    return Item(key, work, weight, caller, 0.0, loop.create_future())


def test_nothing_is_taken_where_nothing_waits() -> None:
    assert BatchQueue[str, int, int](4).take() == []


def test_keys_do_not_mix_and_the_older_goes_first(loop: asyncio.AbstractEventLoop) -> None:
    found = BatchQueue[str, int, int](10)
    for work, key in enumerate("aabab"):
        found.add(item(loop, work, key))
    assert [each.work for each in found.take()] == [0, 1, 3]
    assert [each.work for each in found.take()] == [2, 4]


def test_items_without_a_caller_cost_nothing(loop: asyncio.AbstractEventLoop) -> None:
    found = BatchQueue[str, int, int](10)
    kept, gone = item(loop, 1), item(loop, 2)
    found.add(gone)
    found.add(kept)
    gone.outcome.cancel()
    assert found.take() == [kept]


ITEMS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from("xyz")), max_size=40
)


@given(ITEMS, st.integers(1, 12))
def test_every_item_is_taken_once_within_size_and_a_caller_s_in_order(
    items: list[tuple[str, int, str]], size: int
) -> None:
    loop = asyncio.new_event_loop()
    found = BatchQueue[str, int, int](size)
    for work, (key, weight, caller) in enumerate(items):
        found.add(item(loop, work, key, weight, caller))
    taken: list[Item[str, int, int]] = []
    while batch := found.take():
        assert len({each.key for each in batch}) == 1
        assert len(batch) == 1 or sum(each.weight for each in batch) <= size
        for caller in "xyz":
            own = [each.work for each in batch if each.caller == caller]
            assert own == sorted(own)
        taken += batch
    assert sorted(each.work for each in taken) == list(range(len(items)))
    loop.close()


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(0, 20),
)
def test_callers_with_work_get_the_same_whoever_asked_more_and_first(
    one: list[int], other: list[int], head_start: int
) -> None:
    """Start-time fair queueing: their service differs by two items at the most."""
    loop = asyncio.new_event_loop()
    found = BatchQueue[str, int, int](1)
    for weight in one:
        found.add(item(loop, 0, weight=weight, caller="one"))
    for _ in range(min(head_start, len(one) - 1)):
        found.take()
    begun = len(found)
    for weight in other:
        found.add(item(loop, 0, weight=weight, caller="other"))
    left = {"one": begun, "other": len(other)}
    served = {"one": 0, "other": 0}
    while left["one"] and left["other"]:
        (each,) = found.take()
        left[each.caller] -= 1
        served[each.caller] += each.weight
        assert abs(served["one"] - served["other"]) <= 2 * 9
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
    given: dict[str, Any] = {"size": 4}
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
    doubler.hold.clear()
    async with batcher(doubler, size=1) as made:
        busy = asyncio.create_task(made.submit("a", 1))
        assert await asyncio.to_thread(doubler.begun.wait, PATIENCE)
        waiting = asyncio.create_task(made.submit("a", 2))
        await asyncio.sleep(0)
    doubler.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await busy
    with pytest.raises(NotReady):
        await waiting
    with pytest.raises(NotReady):
        await made.submit("a", 1)
    assert doubler.batches == [[1]]


async def test_batches_are_told_with_their_weight(doubler: Doubler) -> None:
    told: list[Computed] = []
    async with batcher(doubler, size=10, on_batch=told.append) as made:
        await asyncio.gather(*(made.submit("a", each, weight=each) for each in (2, 3, 6)))
    assert [(each.items, each.weight) for each in told] == [(2, 5), (1, 6)]
    assert all(each.seconds > 0 for each in told)
