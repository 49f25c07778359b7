"""One piece of work at a time in a thread of its own, its result taken between two steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Never queues: whoever finds it busy asks again later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._future: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """Work is running, or its result has not been taken yet."""
        return self._future is not None

    def start(self, work: Callable[[], T]) -> bool:
        """False, and nothing started, if busy."""
        if self.busy:
            return False
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # handed to whoever takes the result
                future.set_exception(error)

        self._future = future
        # A daemon: work that hangs in a dependency must not keep the process from ending.
        threading.Thread(target=run, name=self._name, daemon=True).start()
        return True

    def take(self) -> T | None:
        """The result, once; None while there is none. Raises what the work raised."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return future.result()

    def wait(self, seconds: float) -> T | None:
        """As `take`, but waits for running work up to `seconds`."""
        if self._future is not None:
            try:
                self._future.exception(seconds)
            except TimeoutError:
                return None
        return self.take()
