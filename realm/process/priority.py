"""Who leaves the processor to whom."""

from __future__ import annotations

import os
import threading

NICENESS = 10


def step_back() -> None:
    """This thread, and those that it starts from now on, leave the processor to whoever answers
    users, here and in other processes."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (OSError, AttributeError):
        return
