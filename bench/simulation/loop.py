"""An asyncio event loop that is one simulated thread: what it awaits passes in simulated time."""

from __future__ import annotations

import asyncio
import math
from asyncio import base_events
from collections.abc import Callable
from typing import Any

from bench.simulation.scheduler import Process, Scheduler


class _Selector:
    """What the loop waits in when it has nothing to do."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            return []
        running = asyncio.get_running_loop()
        # Other loops run in this very operating-system thread meanwhile.
        asyncio._set_running_loop(None)
        try:
            self._scheduler.sleep(math.inf if timeout is None else timeout)
        finally:
            asyncio._set_running_loop(running)
        return []

    def close(self) -> None:
        """It has nothing open."""


class SimulatedLoop(base_events.BaseEventLoop):
    """The loop of a process, made by the thread that runs it."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._process = process
        self._thread = scheduler.current
        self._selector = _Selector(scheduler)

    def time(self) -> float:
        return self._scheduler.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """In a simulated thread of its own."""
        future = self.create_future()

        def work() -> None:
            try:
                found = func(*args)
            except Exception as error:
                self._answer(future, None, error)
            else:
                self._answer(future, found, None)

        self._scheduler.spawn(self._process, "executor", work)
        return future

    def _answer(self, future: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
        def answer() -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(found)

        self.call_soon(answer)
        self._write_to_self()

    def _write_to_self(self) -> None:
        """Ends its wait."""
        if self._thread is not None and self._scheduler.current is not self._thread:
            self._scheduler.wake(self._thread)

    def _check_closed(self) -> None:
        """What a killed process leaves unfinished ends after its loop was closed."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none: nothing here has a descriptor."""
