"""Signs of life and reasons to stop, looked at between two batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from realm.errors import DependencyUnavailable

IDLE_BEAT_SECONDS = 1.0
LOOK_SECONDS = 1.0
WAIT_SECONDS = 0.1


class NoLongerNeeded(Exception):
    """What a task makes is no longer wanted."""


class Interrupted(Exception):
    """The process has to end before the task does: somebody else does it."""


class Heartbeat:
    """Touches a file: from a thread while idle, by `beat` alone while a task runs.

    A task that hangs lets the file grow old. Redis plays no part: a worker that waits for its
    broker is alive.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file) if file else None
        self._beaten = time.monotonic()
        self._busy = False
        self._closed = threading.Event()
        self.beat()
        if self._file is not None:
            threading.Thread(target=self._idle, name="heartbeat", daemon=True).start()

    @property
    def silent_seconds(self) -> float:
        """Since the last beat."""
        return time.monotonic() - self._beaten

    def beat(self) -> None:
        self._beaten = time.monotonic()
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

    def _idle(self) -> None:
        while not self._closed.wait(IDLE_BEAT_SECONDS):
            if not self._busy:
                self.beat()


class Drain:
    """A wish to end the process, and how long the work in hand may take until then.

    Set from a signal handler, so it takes no lock.
    """

    def __init__(self) -> None:
        self._deadline: float | None = None

    def begin(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds

    @property
    def begun(self) -> bool:
        return self._deadline is not None

    def wait(self, seconds: float) -> None:
        """Sleeps, but not on once the process is to end."""
        deadline = time.monotonic() + seconds
        while not self.begun and time.monotonic() < deadline:
            time.sleep(WAIT_SECONDS)

    @property
    def over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


class Watch:
    """Called between batches; raises what ends the task.

    `wanted` reads the store, so it is asked at most once in `every` seconds.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        drain: Drain,
        wanted: Callable[[], bool],
        every: float,
    ) -> None:
        self._heartbeat = heartbeat
        self._drain = drain
        self._wanted = wanted
        self._every = every
        self._looked = time.monotonic()

    def __call__(self) -> None:
        """:raises Interrupted, NoLongerNeeded:"""
        self._heartbeat.beat()
        if self._drain.over:
            raise Interrupted
        now = time.monotonic()
        if now - self._looked >= self._every:
            self._looked = now
            if not self._still_wanted():
                raise NoLongerNeeded

    def _still_wanted(self) -> bool:
        try:
            return self._wanted()
        except DependencyUnavailable:
            # Work in hand is not thrown away because the store does not answer just now.
            return True
