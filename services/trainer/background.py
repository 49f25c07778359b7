"""Work beside the training loop: one background job at a time, and when something is due."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs one job at a time in a thread; its result is taken between two steps. Never queues."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._future: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """A job is running, or its result has not been taken yet."""
        return self._future is not None

    def start(self, job: Callable[[], T]) -> bool:
        """False, and nothing started, if busy."""
        if self.busy:
            return False
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # raised again where the result is taken
                future.set_exception(error)

        self._future = future
        # A daemon: a job that hangs in a dependency must not keep the process from ending.
        threading.Thread(target=run, name=self._name, daemon=True).start()
        return True

    def take(self, wait_seconds: float = 0.0) -> T | None:
        """The result, once; None if there is none within `wait_seconds`. Raises the job's error."""
        if self._future is None:
            return None
        try:
            self._future.exception(wait_seconds)
        except TimeoutError:
            return None
        future, self._future = self._future, None
        return future.result()


@dataclass(slots=True)
class Cadence:
    """Something due every so many steps, but not twice within `min_seconds`.

    :param last_time: seconds of a monotonic clock.
    """

    every_steps: int
    min_seconds: float
    last_step: int
    last_time: float

    def due(self, step: int, now: float) -> bool:
        return step - self.last_step >= self.every_steps and self.rested(now)

    def rested(self, now: float) -> bool:
        return now - self.last_time >= self.min_seconds

    def happened(self, step: int, now: float) -> None:
        self.last_step, self.last_time = step, now
