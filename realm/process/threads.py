"""Threads of a process: vital ones, whose death ends it; low priority; an end that none delays."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import structlog

LINGER_SECONDS = 3.0
#: A process that watches its threads ends in order within this time, and is killed otherwise.
END_SECONDS = 10.0
NICENESS = 10

log = structlog.get_logger(__name__)


class VitalThread(threading.Thread):
    """Runs `body`. Any exception ends the process, including panics of native code, which are no
    `Exception`: its supervisor restarts it, and no caller waits for a dead thread."""

    def __init__(self, name: str, body: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self.body = body

    def run(self) -> None:
        try:
            self.body()
        except BaseException as error:
            log.critical("thread_died", thread=self.name, why=repr(error), exc_info=error)
            exit_or_kill_after(1, END_SECONDS)


def exit_or_kill_after(code: int = 0, seconds: float = LINGER_SECONDS) -> None:
    """Lets the process exit as usual within `seconds`, then kills it.

    Python waits for the threads of executors at exit, whatever they do: load models, compute for
    callers that are gone, wait for a store that does not answer.
    """
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


def lower_priority() -> None:
    """Makes this thread, and those it starts from now on, yield the processor to whatever answers
    users, here and in other processes."""
    thread = threading.get_native_id()
    try:
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, own + NICENESS)
    except (OSError, AttributeError):
        return
