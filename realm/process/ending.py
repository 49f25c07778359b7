"""The very end of a process: everything is closed, and no thread may keep it from ending."""

from __future__ import annotations

import os
import threading

LINGER_SECONDS = 3.0


def exit_or_kill_after(code: int = 0, seconds: float = LINGER_SECONDS) -> None:
    """Ends the process as usual if it comes to that within so long, else at once.

    Python waits for threads of executors, whatever they are at: loading models, computing for
    callers that are gone, waiting for a store that does not answer.
    """
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
