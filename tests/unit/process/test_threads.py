"""A thread that breaks off ends its process, whatever it raised."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
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


@pytest.mark.parametrize(
    ("body", "waits", "ends"),
    [("raise Panic('native')", 60, 1), ("raise ValueError('plain')", 60, 1), ("return", 0.5, 0)],
)
def test_a_thread_that_breaks_off_ends_its_process_and_says_why(
    body: str, waits: float, ends: int
) -> None:
    code = CODE.format(body=body, waits=waits)
    ended = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True
    )
    assert ended.returncode == ends
    said = ended.stdout + ended.stderr
    assert ("thread_died" in said and "worker" in said) == bool(ends)
