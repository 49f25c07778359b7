"""A process ends though a thread of it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from realm.process.ending import exit_or_kill_after
if {hangs}:
    ThreadPoolExecutor(1).submit(time.sleep, 600)
exit_or_kill_after({code}, 0.2)
"""


@pytest.mark.parametrize(("hangs", "code", "ends"), [(True, 3, 3), (False, 3, 0)])
def test_a_thread_that_hangs_does_not_keep_the_process(hangs: bool, code: int, ends: int) -> None:
    """One that does not hang ends as it would have."""
    made = CODE.format(hangs=hangs, code=code)
    assert subprocess.run([sys.executable, "-c", made], timeout=60, check=False).returncode == ends
