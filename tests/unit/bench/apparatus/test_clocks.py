"""A real process under libfaketime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.apparatus import tools
from bench.apparatus.clocks import SHARED_MEMORY, Clocks, remove_leftovers
from realm.errors import BadSettings
from services.standalone.cluster import ProcessSpec

#: Answers each line with its clocks.
ASKED = """
import sys, time
for _ in sys.stdin:
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    print(time.time(), time.monotonic(), boot, flush=True)
"""
DEADLINE = 30.0
#: Seconds that reading two clocks one after the other may take.
CLOSE = 5.0


def test_the_wall_clock_of_a_running_process_jumps_and_no_other_clock(tmp_path: Path) -> None:
    try:
        library = tools.libfaketime()
    except BadSettings as missing:
        pytest.skip(missing.message)
    clocks = Clocks(tmp_path / "clocks", library)
    spec = clocks.fit(ProcessSpec("one", (sys.executable, "-c", ASKED), {}, tmp_path / "log"))
    with subprocess.Popen(
        spec.command,
        env={**os.environ, **spec.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        try:
            for seconds in (0.0, 600.0, -600.0):
                clocks.set("one", seconds)
                deadline = time.monotonic() + DEADLINE
                while abs((found := ahead(process))[0] - seconds) > CLOSE:
                    assert time.monotonic() < deadline, found
                    time.sleep(0.1)
                assert max(map(abs, found[1:])) < CLOSE
        finally:
            process.kill()
    assert clocks.names == ["one"]
    remove_leftovers()
    assert not list(SHARED_MEMORY.glob(f"*faketime*_{process.pid}"))


def ahead(process: subprocess.Popen[str]) -> tuple[float, float, float]:
    """Of ours, the wall clock and those that nothing changes."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    wall, monotonic, boot = map(float, process.stdout.readline().split())
    mine = time.clock_gettime(time.CLOCK_BOOTTIME)
    return wall - time.time(), monotonic - time.monotonic(), boot - mine
