"""Wakes the indexer's threads: rung by Redis' nudges and by one thread for another.

A ring that is lost costs a pause between two looks, no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from realm.process.threads import VitalThread
from realm.process.wakeup import Wakeup

RETRY_SECONDS = 1.0
LISTEN_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Bell:
    """Many sleepers, each of which hears every ring since it last woke."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        return self._rings

    def ring(self) -> None:
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> int:
        """Sleeps until a ring beyond `heard` or for `seconds`; returns the rings so far."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings != heard, timeout=seconds)
            return self._rings


class NudgeListener(VitalThread):
    """Turns nudges into rings; tells when Redis came back, since its queue may be empty then."""

    def __init__(self, redis_url: str, bell: Bell, on_return: Callable[[], None]) -> None:
        super().__init__("nudges", self._until_stopped)
        self._redis_url = redis_url
        self._bell = bell
        self._on_return = on_return
        self._stopping = threading.Event()
        self.connected = False

    def _until_stopped(self) -> None:
        lost = False
        while not self._stopping.is_set():
            nudge = Wakeup(self._redis_url)
            try:
                self._listen(nudge, lost)
            except (RedisError, OSError) as error:
                if not lost:
                    log.warning("redis_lost", why=str(error))
                lost = True
                self.connected = False
                self._stopping.wait(RETRY_SECONDS)
            finally:
                nudge.close()

    def stop(self) -> None:
        self._stopping.set()

    def _listen(self, nudge: Wakeup, lost: bool) -> None:
        while not self._stopping.is_set():
            heard = nudge.wait(LISTEN_SECONDS)
            self.connected = True
            if lost:
                log.info("redis_back")
                self._on_return()
                lost = False
            if heard is not None:
                self._bell.ring()
