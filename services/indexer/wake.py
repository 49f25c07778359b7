"""Threads that poll, woken early by Redis and by each other.

A lost signal costs one poll interval, nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from realm.errors import RealmError
from realm.process.threads import VitalThread
from realm.process.wakeup import Wakeup
from services.indexer.metrics import IndexerMetrics

RETRY_SECONDS = 1.0
LISTEN_SECONDS = 1.0

log = structlog.get_logger(__name__)


class WakeSignal:
    """A counter to wait on; each waiter sees every notification since it last woke."""

    def __init__(self, condition: threading.Condition | None = None) -> None:
        self._condition = condition or threading.Condition()
        self.count = 0

    def notify(self) -> None:
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> int:
        """Sleeps until the count differs from `seen`, at most `seconds`; returns the count."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != seen, timeout=seconds)
            return self.count


class WakeupListener(VitalThread):
    """Forwards Redis wake-ups to a `WakeSignal`.

    :param on_reconnect: called when Redis is back: its queue may be empty.
    """

    def __init__(self, redis_url: str, wake: WakeSignal, on_reconnect: Callable[[], None]) -> None:
        super().__init__("wake-ups", self._until_stopped)
        self._redis_url = redis_url
        self._wake = wake
        self._on_reconnect = on_reconnect
        self._stopping = threading.Event()
        self._lost = False
        self.connected = False

    def stop(self) -> None:
        self._stopping.set()

    def _until_stopped(self) -> None:
        while not self._stopping.is_set():
            wakeup = Wakeup(self._redis_url)
            try:
                self._listen(wakeup)
            except (RedisError, OSError) as error:
                if not self._lost:
                    log.warning("redis_lost", why=str(error))
                self._lost, self.connected = True, False
                self._stopping.wait(RETRY_SECONDS)
            finally:
                wakeup.close()

    def _listen(self, wakeup: Wakeup) -> None:
        while not self._stopping.is_set():
            topic = wakeup.wait(LISTEN_SECONDS)
            self.connected = True
            if self._lost:
                log.info("redis_back")
                self._on_reconnect()
                self._lost = False
            if topic is not None:
                self._wake.notify()


class PollingThread(VitalThread):
    """Calls `tick` after each wake signal, and again after a pause.

    A tick that fails is logged and counted under the thread's name; the next one tries again.

    :param tick: returns the seconds until it is due again; None: nothing is under way.
    :param pause_seconds: after a tick that failed.
    :param rest_seconds: the pause while nothing is under way.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[], float | None],
        wake: WakeSignal,
        pause_seconds: float,
        rest_seconds: Callable[[], float],
        metrics: IndexerMetrics,
    ) -> None:
        super().__init__(name, self._until_stopped)
        self.tick = tick
        self._wake = wake
        self._pause = pause_seconds
        self._rest_seconds = rest_seconds
        self._failures = metrics.action_failures.labels(name)
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.notify()

    def _until_stopped(self) -> None:
        while not self._stopping.is_set():
            seen = self._wake.count
            try:
                due = self.tick()
                pause = self._rest_seconds() if due is None else due
            except Exception as error:
                self._failures.inc()
                pause = self._pause
                unexpected = None if isinstance(error, RealmError) else error
                log.warning("tick_failed", thread=self.name, why=str(error), exc_info=unexpected)
            self._wake.wait(seen, pause)
