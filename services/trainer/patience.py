"""Waiting for a dependency that is missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from realm.errors import DependencyUnavailable
from services.trainer.heartbeat import Heartbeat

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def patiently(stop: threading.Event, heartbeat: Heartbeat, work: Callable[[], T]) -> T | None:
    """Tries again, ever more slowly, while a dependency is missing; None if stopped meanwhile."""
    pause = FIRST_RETRY_SECONDS
    while not stop.is_set():
        heartbeat.beat()
        try:
            return work()
        except DependencyUnavailable as error:
            _log.warning("dependency_missing", why=error.message, retry_seconds=pause)
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)
    return None
