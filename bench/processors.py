"""Which processors processes run on, so that who asks takes nothing from who answers."""

from __future__ import annotations

import os

import psutil


def last_and_others() -> tuple[set[int], set[int]]:
    """The last processor that this process may use, and those before it; of one alone, both."""
    *others, last = sorted(os.sched_getaffinity(0))
    return {last}, set(others) or {last}


def keep_on(processors: set[int], pid: int) -> None:
    """All threads of a process and of those that it started: the kernel knows each by itself."""
    process = psutil.Process(pid)
    for one in (process, *(process.children(recursive=True) if pid != os.getpid() else ())):
        for thread in one.threads():
            os.sched_setaffinity(thread.id, processors)
