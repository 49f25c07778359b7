"""Hedging: a read that takes long is sent to another gateway as well, and the first answer counts.

As gRFC A6 describes it; gRPC's C core, and so Python, has its retries and not its hedging. Both
draw on one budget: in an outage copies would be load and nothing else.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc

Response = TypeVar("Response")

#: A copy takes one, and so does a call that fails though it was tried again; an answer gives back
#: a part: after a first few, one call in ten is sent twice at the most.
COPIES, COPIES_PER_ANSWER = 10.0, 0.1
#: Where one gateway says so, the other's answer may still come.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Hedging:
    """When a call may be sent to another gateway as well, and whose outcome it has. For all calls
    of a client; thread-safe."""

    def __init__(self, seconds: float) -> None:
        """:param seconds: after which a call that has no answer may be sent once more."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._copies = COPIES

    def call(self, send: Callable[[], Any]) -> Any:
        """The response to a call of a blocking channel.

        :param send: sends it, and returns the call as a future.
        :raises grpc.RpcError: the outcome, if no attempt has another.
        """
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        calls: list[Any] = []

        def attempt() -> None:
            calls.append(send())
            calls[-1].add_done_callback(ended.put)

        try:
            attempt()
            try:
                call = ended.get(timeout=self._seconds)
            except queue.Empty:
                if self._may_copy():
                    attempt()
                call = ended.get()
            if len(calls) > 1 and _may_be_answered_elsewhere(call.exception()):
                call = ended.get()
            self._note(call.exception())
            return call.result()
        finally:
            for each in calls:
                each.cancel()

    async def call_async(self, send: Callable[[], Awaitable[Response]]) -> Response:
        """As `call`, of an asyncio channel."""
        first = asyncio.ensure_future(send())
        attempts = [first]
        try:
            await asyncio.wait(attempts, timeout=self._seconds)
            if not first.done() and self._may_copy():
                attempts.append(asyncio.ensure_future(send()))
            done, others = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
            outcome = done.pop()
            for other in (*done, *others):
                if _may_be_answered_elsewhere(outcome.exception()):
                    await asyncio.wait([other])
                    outcome = other
            self._note(outcome.exception())
            return outcome.result()
        finally:
            for each in attempts:
                each.cancel()
                each.add_done_callback(_retrieve)

    def _may_copy(self) -> bool:
        with self._lock:
            if self._copies < 1:
                return False
            self._copies -= 1
            return True

    def _note(self, error: BaseException | None) -> None:
        with self._lock:
            if error is None:
                self._copies = min(COPIES, self._copies + COPIES_PER_ANSWER)
            elif _may_be_answered_elsewhere(error):
                self._copies = max(0.0, self._copies - 1)


def _may_be_answered_elsewhere(error: BaseException | None) -> bool:
    return isinstance(error, grpc.Call | grpc.aio.AioRpcError) and error.code() in PASSING


def _retrieve(attempt: asyncio.Future[Any]) -> None:
    """Nobody wants to know: without this, asyncio would log it."""
    with suppress(asyncio.CancelledError):
        attempt.exception()
