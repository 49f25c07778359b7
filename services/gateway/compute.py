"""The thread that computes, and how long it has finished nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


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
        """For how long work has waited and none was finished."""
        with self._lock:
            return time.monotonic() - self._since if self._pending else 0.0

    def _finished(self, _future: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1
            self._since = time.monotonic()
