"""The signals that ask a process to end. Imports nothing heavy, to catch them from the start."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def stop_signals(*, hangup: bool = False) -> list[signal.Signals]:
    """The signals that end this process, without those ignored at its start, as `nohup` does
    with SIGHUP.

    A shell without job control ignores SIGINT for background processes, since Ctrl-C at its
    terminal is not meant for them. Without a terminal there is no Ctrl-C: an interrupt is then
    sent on purpose, and counts.
    """
    wanted = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangup else [])]
    return [
        number
        for number in wanted
        if signal.getsignal(number) is not signal.SIG_IGN
        or (number == signal.SIGINT and not _has_terminal())
    ]


def stop_event(*, hangup: bool = False) -> threading.Event:
    """An event set by the first such signal. Call it from the main thread."""
    stop = threading.Event()
    for number in stop_signals(hangup=hangup):
        signal.signal(number, lambda *_: stop.set())
    return stop


def exit_on_sigterm() -> None:
    """SIGTERM ends this process with exit code 0 until another handler takes its place: a
    container's first process ignores signals without one."""
    if signal.SIGTERM in stop_signals():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _has_terminal() -> bool:
    try:
        os.close(os.open(Path("/dev/tty"), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
