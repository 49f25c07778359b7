"""Processes whose threads die or hang."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from realm.process.threads import NICENESS, lower_priority

VITAL = """
import threading
from realm.process import threads
threads.END_SECONDS = 0.2
class Panic(BaseException):
    "As pyo3's: no Exception."
def body():
    {body}
threads.VitalThread("worker", body).start()
threading.Event().wait({waits})
"""
HANGING = """
import time
from concurrent.futures import ThreadPoolExecutor
from realm.process.threads import exit_or_kill_after
if {hangs}:
    ThreadPoolExecutor(1).submit(time.sleep, 600)
exit_or_kill_after(3, 0.2)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("body", "waits", "ends"),
    [("raise Panic('native')", 60, 1), ("raise ValueError('plain')", 60, 1), ("return", 0.5, 0)],
)
def test_a_vital_thread_that_dies_ends_its_process_and_logs_why(
    body: str, waits: float, ends: int
) -> None:
    ended = run(VITAL.format(body=body, waits=waits))
    assert ended.returncode == ends
    said = ended.stdout + ended.stderr
    assert ("thread_died" in said and "worker" in said) == bool(ends)


@pytest.mark.parametrize(("hangs", "code"), [(True, 3), (False, 0)])
def test_a_hanging_thread_does_not_keep_the_process(hangs: bool, code: int) -> None:
    assert run(HANGING.format(hangs=hangs)).returncode == code


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process has one priority")
def test_a_thread_that_gives_way_does_so_alone() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    mine = priority()
    with ThreadPoolExecutor(1, initializer=lower_priority) as low, ThreadPoolExecutor(1) as other:
        assert low.submit(priority).result(timeout=10) == min(19, mine + NICENESS)
        assert other.submit(priority).result(timeout=10) == mine
    assert priority() == mine
