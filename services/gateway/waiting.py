"""Waiting for asyncio events, and the gateway's shutdown as its long calls see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import structlog

from realm.errors import NotReady

#: Between two cancellations of a task, and for how long it is cancelled.
CANCEL_AGAIN_SECONDS = 0.1
CANCEL_SECONDS = 5.0

Each = TypeVar("Each")

log = structlog.get_logger(__name__)


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether the event is set within `seconds`; None waits for ever.

    Not `asyncio.wait_for`: up to Python 3.11 it swallows a cancellation that comes together with
    the event, and a task so cancelled never ends.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks until they have ended; logs those that do not within `CANCEL_SECONDS`.

    One cancellation may be lost: redis-py sends with `asyncio.wait_for`, which up to Python 3.11
    swallows a cancellation that comes when the sending is done.
    """
    left = set(tasks)
    give_up_at = asyncio.get_running_loop().time() + CANCEL_SECONDS
    while left and asyncio.get_running_loop().time() < give_up_at:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)
    for task in left:
        log.error("task_not_ended", task=task.get_name())


class Shutdown:
    """Set once, when the process is told to stop: calls end well and no new work begins."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._event.is_set()

    def begin(self) -> None:
        self._event.set()

    def interrupt(self, items: AsyncIterator[Each]) -> AsyncIterator[Each]:
        """The items until the gateway stops.

        :raises NotReady: then; the client may continue with another gateway.
        """
        return items_until(self._event, items, "this gateway is stopping; call again")


async def items_until(
    event: asyncio.Event, items: AsyncIterator[Each], why: str, seconds: float | None = None
) -> AsyncIterator[Each]:
    """The items until the event.

    :param seconds: how long the first item may take; None: any time.
    :raises NotReady: then, saying why; also when the source of the items was cancelled, as gRPC
        does to the calls of a closed channel. Passed on, that cancellation would end our own call
        without a status (grpc/grpc#29248).
    """
    event_set = asyncio.ensure_future(event.wait())
    try:
        while True:
            item = asyncio.ensure_future(anext(items, None))
            both = {item, event_set}
            try:
                await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not item.done() or item.cancelled():
                    late = "nothing came in time; call again"
                    raise NotReady(why if event.is_set() or item.done() else late)
                found = item.result()
            finally:
                item.cancel()
            if found is None:
                return
            seconds = None
            yield found
    finally:
        event_set.cancel()
