"""What a process is of no use without: when one breaks off, the process says so and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from realm.process.ending import exit_or_kill_after

#: Who watches its threads ends in order within this time, and is ended else.
END_SECONDS = 10.0

log = structlog.get_logger(__name__)


class VitalThread(threading.Thread):
    """Runs `body`. Whatever that raises ends the process, a panic in native code too, which is no
    `Exception`: a supervisor starts it anew, and nobody waits for a thread that is gone."""

    def __init__(self, name: str, body: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body

    def run(self) -> None:
        try:
            self._body()
        except BaseException as error:
            log.critical("thread_died", thread=self.name, why=repr(error), exc_info=error)
            exit_or_kill_after(1, END_SECONDS)
