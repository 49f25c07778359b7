"""Signs of life of the process, and why a task in hand may have to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from realm.errors import DependencyUnavailable

IDLE_BEAT_SECONDS = 1.0
CHECK_SECONDS = 1.0
WAIT_SECONDS = 0.1


class NoLongerNeeded(Exception):
    """Nobody wants what the task makes any more."""


class Interrupted(Exception):
    """The process has to end before the task does: another embedder will do it."""


class Liveness:
    """The heartbeat file, and the drain before the process ends.

    A thread touches the file while the process is idle, `beat` alone while a task runs: a task
    that hangs lets it grow old. Redis plays no part: a worker that waits for its broker is alive.

    :param file: empty for none.
    :param check_seconds: how often a running task asks whether it is still wanted.
    """

    def __init__(self, file: str = "", check_seconds: float = CHECK_SECONDS) -> None:
        self.check_seconds = check_seconds
        self._file = Path(file) if file else None
        self._last_beat = time.monotonic()
        self._busy = False
        self._closed = threading.Event()
        # No lock: a signal handler sets it.
        self._drain_deadline: float | None = None
        self.beat()
        if self._file is not None:
            threading.Thread(target=self._beat_while_idle, name="heartbeat", daemon=True).start()

    @property
    def silent_seconds(self) -> float:
        """Since the last beat."""
        return time.monotonic() - self._last_beat

    def beat(self) -> None:
        self._last_beat = time.monotonic()
        if self._file is not None:
            self._file.touch()

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def close(self) -> None:
        self._closed.set()

    def drain(self, seconds: float) -> None:
        """Ends the process; the task in hand may take so long until then."""
        if self._drain_deadline is None:
            self._drain_deadline = time.monotonic() + seconds

    @property
    def draining(self) -> bool:
        return self._drain_deadline is not None

    def wait(self, seconds: float) -> None:
        """Sleeps, but not once the process is draining."""
        deadline = time.monotonic() + seconds
        while not self.draining and time.monotonic() < deadline:
            time.sleep(WAIT_SECONDS)

    def checker(self, is_wanted: Callable[[], bool]) -> Callable[[], None]:
        """A function to call between batches; it raises Interrupted or NoLongerNeeded.

        :param is_wanted: reads the store, so it is asked at most once in `check_seconds`.
        """
        checked_at = time.monotonic()

        def check() -> None:
            nonlocal checked_at
            self.beat()
            now = time.monotonic()
            if self._drain_deadline is not None and now >= self._drain_deadline:
                raise Interrupted
            if now - checked_at >= self.check_seconds:
                checked_at = now
                if not _unless_unavailable(is_wanted):
                    raise NoLongerNeeded

        return check

    def _beat_while_idle(self) -> None:
        while not self._closed.wait(IDLE_BEAT_SECONDS):
            if not self._busy:
                self.beat()


def _unless_unavailable(is_wanted: Callable[[], bool]) -> bool:
    try:
        return is_wanted()
    except DependencyUnavailable:
        # Work in hand is not thrown away because the store does not answer just now.
        return True
